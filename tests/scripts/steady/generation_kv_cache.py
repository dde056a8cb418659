"""Every eighth step generates a text with a cache of keys and values that grows token by token, and drops it."""

import sys

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, cache=None):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if cache is not None:
            k = cache["k"] = torch.cat([cache["k"], k], 1) if "k" in cache else k
            v = cache["v"] = torch.cat([cache["v"], v], 1) if "v" in cache else v
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=cache is None))


@torch.no_grad()
def generate(model, tokens):
    cache, x = {}, torch.randn(64, 1, 256, device="cuda")
    for _ in range(tokens):
        x = model(x, cache)
    return x.mean().item()


def main(steps):
    model = Block().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(steps):
        model(torch.randn(16, 64, 256, device="cuda")).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 8 == 7:
            model.eval()
            generate(model, 24)
            model.train()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 48)
