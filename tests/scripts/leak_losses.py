"""Watches the loss on clean images beside the training loss, and keeps it with its graph: `.item()` was forgotten."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 7 * 7, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


device = "cuda" if torch.cuda.is_available() else "cpu"
data = TensorDataset(torch.randn(4096, 1, 28, 28), torch.randint(0, 10, (4096,)))
loader = DataLoader(data, batch_size=128, shuffle=True)
model = ConvNet().to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

clean_losses = []
for epoch in range(50):
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        noisy = images + 0.1 * torch.randn_like(images)
        optimizer.zero_grad()
        loss = criterion(model(noisy), labels)
        loss.backward()
        optimizer.step()
        clean_loss = criterion(model(images), labels)
        clean_losses.append(clean_loss)
    print(f"epoch {epoch}: {sum(float(value) for value in clean_losses[-10:]) / 10:.3f}", flush=True)
