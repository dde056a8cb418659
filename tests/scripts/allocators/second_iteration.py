"""Dies in its second iteration, the first with the optimizer's state in memory, for a piece of cache large enough."""

import torch

layers = [torch.nn.Linear(1024, 1024) for _ in range(8)]
model = torch.nn.Sequential(*layers).cuda()
optimizer = torch.optim.AdamW(model.parameters())
outputs = []
for _ in range(3):
    output = model(torch.randn(2048, 1024, device="cuda"))
    output.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    outputs.append(output.detach())
