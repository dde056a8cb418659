"""Shards are loaded in the first steps and once more in the middle; near the end a few workers get a buffer each."""

import sys
import threading

import torch
from torch import nn


def main(steps):
    model = nn.Linear(1024, 64).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    shards, workers, ended, scratch = [], [], threading.Event(), threading.local()

    def load():
        shards.append(torch.randn(512, 1024, device="cuda"))

    def work():
        scratch.buffer = torch.empty(1024, 1024, device="cuda")
        ended.wait()

    for step in range(steps):
        if step in range(0, 10, 2) or step in range(steps - 12, steps - 4, 2):
            load()
        if step >= steps - 4:
            workers.append(threading.Thread(target=work))
            workers[-1].start()
        optimizer.zero_grad()
        model(shards[-1][:64]).mean().backward()
        optimizer.step()
    ended.set()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 48)
