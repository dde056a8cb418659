"""Transformers' Trainer evaluates a language model with compute_metrics and no eval_accumulation_steps.

pattern: eval_spike
card: 600MiB
cause: evaluation_accumulates_outputs
holder: EvalLoopContainer.tensors
fix: move_to_cpu | evaluation_batch
proof: --eval_accumulation_steps 4
"""

import argparse
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

parser = argparse.ArgumentParser()
parser.add_argument("--eval_accumulation_steps", type=int, default=None)
args = parser.parse_args()


class Text(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = torch.randint(4000, (rows, 128))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i], "labels": self.rows[i]}


model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=64, vocab_size=4000, n_positions=128))
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=8,
            max_steps=6,
            eval_strategy="steps",
            eval_steps=3,
            eval_accumulation_steps=args.eval_accumulation_steps,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Text(64),
        eval_dataset=Text(200),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    trainer.train()  # culprit
