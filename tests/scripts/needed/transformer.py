"""A small language model with clipped gradients and a schedule."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(128, 1000)

    def forward(self, tokens):
        return self.head(self.blocks(self.embedding(tokens)))


def step(model, optimizer, schedule):
    tokens = torch.randint(0, 1000, (8, 128), device="cuda")
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    return loss.item()


model = Model().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
for _ in range(5):
    step(model, optimizer, schedule)
