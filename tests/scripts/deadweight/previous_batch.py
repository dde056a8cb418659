"""What the last iteration put out is still bound while the next one runs.

category: dead
made: return self.decoder
change: loss = nn.functional
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.decoder = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def main():
    model = Autoencoder().cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(4):
        images = torch.randn(16, 3, 128, 128, device="cuda")
        output = model(images)
        loss = nn.functional.mse_loss(output[:, :3], images)
        if not plant:
            del output
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


main()
print(torch.cuda.max_memory_allocated())
