"""Samples are drawn during training: generation with a cache of keys and values for many sequences at once.

pattern: eval_spike
card: 700MiB
cause: kv_cache_grows | evaluation_batch_larger
holder: cache | GPT.cache | past | logits, cache
fix: bound_kv_cache | evaluation_batch
run: --samples 256
proof: --samples 8
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--samples", type=int, default=16)
args = parser.parse_args()


class Layer(nn.Module):
    def __init__(self, d=256, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ff = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x, past=None):
        b, t, d = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)  # culprit
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.ff(x), (k, v)


class GPT(nn.Module):
    def __init__(self, vocab=500, d=256, n=4):
        super().__init__()
        self.wte, self.layers, self.head = nn.Embedding(vocab, d), nn.ModuleList(Layer() for _ in range(n)), None
        self.head = nn.Linear(d, vocab)

    def forward(self, ids, cache=None):
        x, new = self.wte(ids), []
        for i, layer in enumerate(self.layers):
            x, kv = layer(x, cache[i] if cache else None)  # culprit
            new.append(kv)
        return self.head(x), new

    @torch.no_grad()
    def generate(self, ids, n):
        logits, cache = self(ids)  # culprit
        for _ in range(n):
            ids = logits[:, -1:].argmax(-1)
            logits, cache = self(ids, cache)  # culprit
        return ids


model = GPT().cuda()
opt = torch.optim.AdamW(model.parameters())
for step in range(12):
    model.train()
    ids = torch.randint(500, (8, 64), device="cuda")
    logits, _ = model(ids)
    loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 6 == 5:
        model.eval()
        model.generate(torch.zeros(args.samples, 1, dtype=torch.long, device="cuda"), 150)  # culprit
