"""mempool|graph [release]: 320 MiB lie idle in a private pool when 700 of 1024 MiB are asked for."""

import gc
import sys

import torch

MIB = 1 << 20


def fill_pool():
    pool, kept = torch.cuda.MemPool(), []
    with torch.cuda.use_mem_pool(pool):
        for _ in range(10):
            kept.append(torch.empty(32 * MIB, dtype=torch.uint8, device="cuda"))
    return pool


def capture_graph():
    graph, source = torch.cuda.CUDAGraph(), torch.zeros(32 * MIB, dtype=torch.uint8, device="cuda")
    with torch.cuda.graph(graph):
        results = [source + 1 for _ in range(10)]
        del results
    return graph


owner = fill_pool() if sys.argv[1] == "mempool" else capture_graph()
if "release" in sys.argv:
    del owner
    gc.collect()
    torch.cuda.empty_cache()
torch.empty(700 * MIB, dtype=torch.uint8, device="cuda")
