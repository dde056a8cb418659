"""Two streams, each with its own free blocks, and a private pool between them; then more than there is."""

import torch

MIB = 1 << 20
side = torch.cuda.Stream()
pool = torch.cuda.MemPool()


def work(size):
    return torch.empty(size * MIB, dtype=torch.uint8, device="cuda")


for turn in range(10):
    one = work(50)
    del one
    with torch.cuda.stream(side):
        other = [work(50), work(3)]
        del other
    with torch.cuda.use_mem_pool(pool):
        kept = [work(20) for _ in range(turn)]
    del kept
work(4096)
