"""A small GPT-2 of Transformers in a plain loop with accumulation; all is well.

pattern: healthy
card: 1.5GiB
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=4, n_embd=128, vocab_size=4000, n_positions=128)).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
for step in range(15):
    for _ in range(4):
        ids = torch.randint(4000, (4, 128), device="cuda")
        (model(input_ids=ids, labels=ids).loss / 4).backward()
    optimizer.step()
    optimizer.zero_grad()
