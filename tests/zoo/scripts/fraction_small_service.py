"""A notebook server caps each user at a quarter of the card; the model states alone are above it.

pattern: first_batch
card: 2GiB
cause: memory_limit | model_states_too_large | optimizer_state_birth
fix: raise_memory_limit | smaller_optimizer_state | bf16_states | fused_optimizer | shard_states
proof: --fixed
"""

import sys

import torch
from torch import nn

torch.cuda.set_per_process_memory_fraction(0.9 if "--fixed" in sys.argv else 0.25, 0)
lstm = nn.LSTM(1024, 2048, num_layers=1).cuda()
head = nn.Linear(2048, 1024).cuda()
opt = torch.optim.Adam([*lstm.parameters(), *head.parameters()])
for _ in range(4):
    x = torch.randn(16, 8, 1024, device="cuda")
    out, _ = lstm(x)
    loss = (head(out) - x).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()  # culprit
