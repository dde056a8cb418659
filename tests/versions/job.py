"""A small GPT trained for four steps, evaluated and refused memory; the last line is what PyTorch itself counted.

job.py MODE   native, or pluggable:LIBRARY (a CUDAPluggableAllocator); the rest is said by the environment
"""

import json
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCABULARY, WIDTH, HEADS, BATCH, TIME = 2048, 256, 4, 8, 128


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        batch, time, width = x.shape
        parts = self.attention(self.first(x)).split(width, 2)
        q, k, v = (part.view(batch, time, HEADS, -1).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, time, width)
        x = x + self.projection(y)
        return x + self.down(F.gelu(self.up(self.second(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TIME, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens, targets):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1), device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(x).view(-1, VOCABULARY), targets.view(-1))


def batch():
    tokens = torch.randint(VOCABULARY, (BATCH, TIME + 1))
    return tokens[:, :-1].contiguous().pin_memory().cuda(non_blocking=True), tokens[:, 1:].contiguous().cuda()


def train():
    model = GPT().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(4):
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(*batch())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    with torch.no_grad():
        model(*batch()).item()
    model.train()
    torch.randn(1 << 18, device="cuda").sort()


def main():
    mode = sys.argv[1]
    if mode.startswith("pluggable:"):
        allocator = torch.cuda.memory.CUDAPluggableAllocator(mode.split(":", 1)[1], "give", "take")
        torch.cuda.memory.change_current_allocator(allocator)
    train()
    refused = ""
    try:
        torch.empty(1 << 36, dtype=torch.uint8, device="cuda")
    except RuntimeError as error:
        refused = type(error).__name__
    count = torch.cuda.memory_stats().get("allocation.all.allocated") if mode == "native" else None
    print(json.dumps({"allocations": count, "refused": refused}))


main()
