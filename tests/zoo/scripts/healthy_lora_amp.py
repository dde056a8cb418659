"""LoRA under bf16 autocast on a frozen base with gradient checkpointing of Transformers; healthy.

pattern: healthy
card: 1GiB
"""

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


class LoRA(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(base.weight.shape[0], rank) * 0.01)
        self.b = nn.Parameter(torch.zeros(rank, base.weight.shape[1]))

    def forward(self, x):
        return self.base(x) + x @ self.a @ self.b


model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=4, n_embd=128, vocab_size=2000, n_positions=128, use_cache=False))
model.requires_grad_(False)
for block in model.transformer.h:
    block.attn.c_attn = LoRA(block.attn.c_attn)
model.gradient_checkpointing_enable()
model.enable_input_require_grads()
model.cuda()
opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for step in range(10):
    ids = torch.randint(2000, (4, 128), device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = model(ids, labels=ids).loss
    loss.backward()
    opt.step()
    opt.zero_grad()
