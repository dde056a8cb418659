"""Hugging Face's Trainer on a small GPT-2 with made-up text."""

import argparse

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


class RandomText(Dataset):
    def __init__(self, rows, length, vocabulary):
        self.rows = torch.randint(vocabulary, (rows, length))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--per_device_train_batch_size", type=int, default=32)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--max_steps", type=int, default=4)
    parser.add_argument("--output_dir", default="/tmp/hf_trainer_out")
    args = parser.parse_args()
    config = GPT2Config(n_layer=4, n_head=4, n_embd=256, vocab_size=16000, n_positions=512)
    model = GPT2LMHeadModel(config)
    arguments = TrainingArguments(
        output_dir=args.output_dir,
        per_device_train_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        max_steps=args.max_steps,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    Trainer(model=model, args=arguments, train_dataset=RandomText(512, 512, 16000)).train()


if __name__ == "__main__":
    main()
