"""A GPT in nanoGPT's manner with a vocabulary of 32000 and a batch that is too large for the logits.

pattern: first_batch
card: 1GiB
cause: logits_too_large
fix: micro_batch | chunked_cross_entropy | micro_batch_expandable_segments
proof: --batch_size=1
"""

import math
import sys

import torch
import torch.nn as nn
from torch.nn import functional as F

batch_size = 8
block_size = 512
n_layer, n_head, n_embd = 4, 4, 128
vocab_size = 32000
learning_rate = 6e-4
for arg in sys.argv[1:]:
    key, value = arg[2:].split("=")
    globals()[key] = int(value)


class CausalSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(n_embd, dim=2)
        q, k, v = (t.view(B, T, n_head, C // n_head).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention()
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList([Block() for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                torch.nn.init.normal_(p, std=0.02 / math.sqrt(2 * n_layer))

    def forward(self, idx, targets):
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1), device=idx.device))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))  # culprit
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))  # culprit
        return logits, loss


def get_batch():
    data = torch.randint(vocab_size, (batch_size, block_size + 1))
    return data[:, :-1].to("cuda"), data[:, 1:].to("cuda")


model = GPT().to("cuda")
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
for iter_num in range(4):
    X, Y = get_batch()
    logits, loss = model(X, Y)
    loss.backward()  # culprit
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
print("loss", loss.item())
