"""Transformers' Trainer fine-tunes a small BERT with eager attention; the batch is too large.

pattern: first_batch
card: 1GiB
cause: attention_scores_too_large | activations_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --per_device_train_batch_size 32
proof: --per_device_train_batch_size 4
"""

import argparse
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

parser = argparse.ArgumentParser()
parser.add_argument("--per_device_train_batch_size", type=int, default=8)
args = parser.parse_args()


class Reviews(torch.utils.data.Dataset):
    def __len__(self):
        return 128

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        ids = torch.randint(5000, (512,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": i % 2}


config = BertConfig(
    vocab_size=5000, hidden_size=256, num_hidden_layers=4, num_attention_heads=8, intermediate_size=1024,
    attn_implementation="eager",
)  # fmt: skip
model = BertForSequenceClassification(config)
with tempfile.TemporaryDirectory() as folder:
    training_args = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=args.per_device_train_batch_size,
        max_steps=3,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=training_args, train_dataset=Reviews())
    trainer.train()  # culprit
