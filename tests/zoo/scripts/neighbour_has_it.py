"""A colleague's notebook sits on most of the card.

pattern: other_process
card: 2GiB
other: 1.6GiB
cause: other_process_memory
fix: free_other_processes
proof: OOMTRACE_SIM_OTHER=0
"""

import torch
import torchvision

model = torchvision.models.mobilenet_v3_small(num_classes=10).cuda()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
for step in range(3):
    images = torch.randn(64, 3, 160, 160, device="cuda")
    labels = torch.randint(10, (64,), device="cuda")
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
