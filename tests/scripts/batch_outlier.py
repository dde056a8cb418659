"""Batches of texts padded to their longest: one text is far longer than the others."""

import torch
from torch import nn

LENGTHS = [48, 64, 56, 60, 52, 64, 48, 60, 64, 56, 60, 48, 1900, 64, 60]


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5000, 256)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4)
        self.classify = nn.Linear(256, 30)

    def forward(self, tokens):
        return self.classify(self.encoder(self.embedding(tokens)))


model = Tagger().to("cuda")
optimizer = torch.optim.AdamW(model.parameters())
for epoch in range(2):
    for length in LENGTHS:
        tokens = torch.randint(5000, (16, length)).to("cuda")
        tags = torch.randint(30, (16, length)).to("cuda")
        logits = model(tokens)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tags.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print("epoch", epoch, loss.item())
