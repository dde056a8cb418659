"""DistributedDataParallel with a single rank over NCCL, no_sync for accumulation; healthy.

pattern: healthy
card: 1GiB
"""

import os
import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

with tempfile.TemporaryDirectory() as folder:
    store = dist.FileStore(os.path.join(folder, "store"), 1)
    dist.init_process_group("nccl", store=store, rank=0, world_size=1)
    model = DDP(nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 128)).cuda(), device_ids=[0])
    opt = torch.optim.AdamW(model.parameters())
    for step in range(10):
        with model.no_sync():
            x = torch.randn(64, 128, device="cuda")
            model(x).pow(2).mean().backward()
        model(torch.randn(64, 128, device="cuda")).pow(2).mean().backward()
        opt.step()
        opt.zero_grad()
    dist.destroy_process_group()
