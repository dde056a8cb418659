"""An allocator of the user's own, from the library given as the first argument; a list keeps 4 MiB of each step."""

import sys

import torch

allocator = torch.cuda.memory.CUDAPluggableAllocator(sys.argv[1], "give", "take")
torch.cuda.memory.change_current_allocator(allocator)
model = torch.nn.Linear(256, 256).cuda()
optimizer = torch.optim.AdamW(model.parameters())
history = []


def train():
    for _ in range(1000):
        model(torch.randn(64, 256, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(torch.empty(1 << 20, device="cuda"))
        if history[-1].data_ptr() == 0:  # the allocator gave nothing, and PyTorch says nothing until a later call fails
            model(torch.randn(64, 256, device="cuda"))
            raise SystemExit("out of memory")


train()
