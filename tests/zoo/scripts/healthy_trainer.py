"""Transformers' Trainer with accumulation, evaluation, checkpoints on disk and bf16; nothing is wrong.

pattern: healthy
card: 1.5GiB
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Pairs(torch.utils.data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        length = 64
        return {"input_ids": torch.full((length,), i % 900), "labels": i % 2}


config = BertConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
with tempfile.TemporaryDirectory() as folder:
    args = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        max_steps=10,
        eval_strategy="steps",
        eval_steps=5,
        save_steps=5,
        bf16=True,
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(BertForSequenceClassification(config), args, train_dataset=Pairs(256), eval_dataset=Pairs(40)).train()
