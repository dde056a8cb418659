"""A generator of batches puts three batches into a queue for every two that are trained on.

holder: backlog|SimpleQueue|Backlog.waiting
made: torch.rand
fix: bound_queue
"""

import sys
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class Backlog:
    waiting: list = field(default_factory=list)

    def put(self, size):
        self.waiting.append({"pixels": torch.rand(size, 48, 48, device="cuda")})

    def take(self):
        return self.waiting.pop(0)["pixels"].flatten(1)


def main(steps):
    backlog = Backlog()
    model = nn.Linear(48 * 48, 32).cuda()
    optimizer = torch.optim.RMSprop(model.parameters())
    for _ in range(steps):
        for _ in range(3):
            backlog.put(128)
        optimizer.zero_grad()
        for _ in range(2):
            model(backlog.take()).logsumexp(1).mean().backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
