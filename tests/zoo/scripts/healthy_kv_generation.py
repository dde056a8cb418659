"""Transformers' generate() between steps of training, each time with a cache of its own that goes away.

pattern: healthy
card: 1GiB
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

config = GPT2Config(n_layer=2, n_head=2, n_embd=64, vocab_size=500, n_positions=128, eos_token_id=None)
model = GPT2LMHeadModel(config).cuda()
opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(9):
    model.train()
    ids = torch.randint(500, (8, 64), device="cuda")
    loss = model(ids, labels=ids).loss
    loss.backward()
    opt.step()
    opt.zero_grad()
    if step % 3 == 2:
        model.eval()
        with torch.no_grad():
            model.generate(ids[:4, :8], max_new_tokens=16, do_sample=False, pad_token_id=0)
