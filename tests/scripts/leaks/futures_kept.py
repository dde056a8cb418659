"""Results of a thread pool are collected as futures, to be looked at after the last step.

holder: pending
made: summary|outer|@
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn


def summary(features):
    return features.T @ features


def train(steps):
    model = nn.Sequential(nn.Linear(32, 512), nn.ReLU())
    head = nn.Linear(512, 1)
    model.cuda(), head.cuda()
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()])
    pending = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        for _ in range(steps):
            features = model(torch.randn(256, 32, device="cuda"))
            head(features).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            pending.append(pool.submit(summary, features.detach()))
    return [future.result().trace().item() for future in pending]


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
