"""LoRA by hand on a frozen base: few trainable weights, but the activations are as large as ever.

pattern: first_batch
card: 1GiB
cause: activations_too_large | attention_scores_too_large | logits_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --micro-batch 16
proof: --micro-batch 2
"""

import argparse

import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

parser = argparse.ArgumentParser()
parser.add_argument("--micro-batch", type=int, default=4)
args = parser.parse_args()


class LoRA(nn.Module):
    def __init__(self, base, rank=8):
        super().__init__()
        self.base = base
        n_in, n_out = base.weight.shape
        self.a = nn.Parameter(torch.randn(n_in, rank) * 0.01)
        self.b = nn.Parameter(torch.zeros(rank, n_out))

    def forward(self, x):
        return self.base(x) + x @ self.a @ self.b  # culprit


model = GPT2Model(GPT2Config(n_layer=6, n_head=8, n_embd=512, vocab_size=2000, n_positions=512))
for p in model.parameters():
    p.requires_grad_(False)
for block in model.h:
    block.attn.c_attn = LoRA(block.attn.c_attn)
    block.mlp.c_fc = LoRA(block.mlp.c_fc)
model.to("cuda")
trainable = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trainable, lr=1e-4)
for step in range(3):
    ids = torch.randint(2000, (args.micro_batch, 512), device="cuda")
    hidden = model(input_ids=ids).last_hidden_state  # culprit
    loss = hidden.float().pow(2).mean()
    loss.backward()  # culprit
    optimizer.step()
    optimizer.zero_grad()
