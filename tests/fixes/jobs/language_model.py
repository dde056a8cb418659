"""A small GPT with a vocabulary."""

import knobs as k
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.qkv, self.out = nn.Linear(n, 3 * n), nn.Linear(n, n)
        self.up, self.down = nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

    def forward(self, x):
        b, t, n = x.shape
        q, key, v = (y.view(b, t, 4, n // 4).transpose(1, 2) for y in self.qkv(self.norm(x)).split(n, 2))
        y = F.scaled_dot_product_attention(q, key, v, is_causal=True).transpose(1, 2).reshape(b, t, n)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, o, vocabulary=8192):
        super().__init__()
        self.o = o
        self.embedding = nn.Embedding(vocabulary, o.width)
        self.blocks = nn.ModuleList([Block(o.width) for _ in range(o.depth)])
        self.norm = nn.LayerNorm(o.width)
        self.head = nn.Linear(o.width, vocabulary, bias=False)

    def forward(self, ids, targets):
        x = k.blocks(self.o, self.blocks, self.embedding(ids))
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)).float(), targets.view(-1))


def main():
    o = k.read(width=256, depth=6, batch_size=16, length=256)
    model = k.placed(o, LanguageModel(o))
    opt = k.optimizer(o, model.parameters())
    for _ in range(o.steps):
        opt.zero_grad()
        for _ in range(o.accumulation):
            ids = torch.randint(8192, (o.batch_size, o.length)).to("cuda")
            targets = torch.randint(8192, (o.batch_size, o.length)).to("cuda")
            with k.autocast(o):
                loss = model(ids, targets) / o.accumulation
            loss.backward()
        opt.step()


main()
