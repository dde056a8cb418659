"""A server that answers prompts with a cache of keys and values, which it never empties. Nothing is trained."""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.project, self.cache = nn.Linear(width, 3 * width), {}

    def remember(self, name, new):
        self.cache[name] = torch.cat([self.cache[name], new], dim=2) if name in self.cache else new
        return self.cache[name]

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.project(x).chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(q, self.remember("k", k), self.remember("v", v))
        return x + out.transpose(1, 2).flatten(2)


@torch.inference_mode()
def answer(layers, prompt, tokens):
    x = prompt
    for _ in range(tokens):
        for layer in layers:
            x = layer(x)
        x = x[:, -1:].tanh()


def main():
    layers = nn.ModuleList(Attention(512) for _ in range(3)).cuda().eval()
    while True:
        answer(layers, torch.randn(12, 80, 512, device="cuda"), 24)


if __name__ == "__main__":
    main()
