"""The job shares its card with an inference server that takes three quarters of it.

pattern: other_process
card: 2GiB
other: 1.5GiB
cause: other_process_memory
fix: free_other_processes
proof: OOMTRACE_SIM_OTHER=0
"""

import torch
from torch import nn

model = nn.LSTM(256, 512, num_layers=2, batch_first=True).cuda()
head = nn.Linear(512, 256).cuda()
optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()])
for step in range(4):
    x = torch.randn(64, 200, 256, device="cuda")
    out, _ = model(x)
    loss = (head(out) - x).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
