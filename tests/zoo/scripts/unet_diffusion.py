"""A diffusion U-Net with self-attention at 64 by 64; the attention matrices of the first batch do not fit.

pattern: first_batch
card: 2GiB
cause: attention_scores_too_large | activations_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --train_batch_size 8
proof: --train_batch_size 1
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(128, c_out)
        self.norm2, self.conv2 = nn.GroupNorm(8, c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x, t):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class AttentionBlock(nn.Module):
    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.GroupNorm(8, channels), nn.Conv1d(channels, 3 * channels, 1)
        self.proj = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x).view(b, c, -1)).view(b * self.heads, 3 * c // self.heads, -1).chunk(3, 1)
        weight = torch.einsum("bct,bcs->bts", q, k) * (c // self.heads) ** -0.5  # culprit
        weight = torch.softmax(weight.float(), dim=-1).to(weight.dtype)  # culprit
        out = torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, -1)
        return x + self.proj(out).view(b, c, h, w)


class UNet(nn.Module):
    def __init__(self, base=32):
        super().__init__()
        self.inp = nn.Conv2d(4, base, 3, padding=1)
        self.down1, self.down2 = ResBlock(base, base), ResBlock(base, 2 * base)
        self.attn = AttentionBlock(base)
        self.mid = AttentionBlock(2 * base)
        self.up = ResBlock(3 * base, base)
        self.out = nn.Conv2d(base, 4, 3, padding=1)

    def forward(self, x, t):
        h1 = self.attn(self.down1(self.inp(x), t))
        h2 = self.mid(self.down2(F.avg_pool2d(h1, 2), t))
        return self.out(self.up(torch.cat([F.interpolate(h2, scale_factor=2), h1], 1), t))


parser = argparse.ArgumentParser()
parser.add_argument("--train_batch_size", type=int, default=4)
args = parser.parse_args()
unet = UNet().to("cuda")
optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
for step in range(3):
    latents = torch.randn(args.train_batch_size, 4, 64, 64, device="cuda")
    noise = torch.randn_like(latents)
    emb = torch.randn(args.train_batch_size, 128, device="cuda")
    loss = F.mse_loss(unet(latents + noise, emb), noise)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
