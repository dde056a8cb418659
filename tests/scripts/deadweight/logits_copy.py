"""A copy of the logits, for a metric that is never computed.

category: never_read
made: .clone()
change: .clone()
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

plant = sys.argv[1:] != ["without"]


class LanguageModel(nn.Module):
    def __init__(self, vocabulary=8192, width=128):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, dropout=0.0)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.head(self.block(self.embedding(tokens)))


def train(model, optimizer, steps=4):
    history = {}
    for _ in range(steps):
        tokens = torch.randint(0, 8192, (4, 256), device="cuda")
        logits = model(tokens)
        if plant:
            history["last"] = logits.detach().clone()
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


model = LanguageModel().cuda()
train(model, torch.optim.AdamW(model.parameters()))
print(torch.cuda.max_memory_allocated())
