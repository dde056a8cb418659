"""A tree of states for each step, children and parents linked both ways, with the collector frozen out.

holder: State.board (in a reference cycle
made: torch.rand
fix: break_cycle
"""

import gc
import sys

import torch
from torch import nn


class State:
    def __init__(self, board, parent=None):
        self.board, self.parent, self.children = board, parent, []
        if parent is not None:
            parent.children.append(self)


gc.disable()
value = nn.Linear(1024, 1).cuda()
optimizer = torch.optim.Adam(value.parameters())
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000):
    root = State(torch.rand(256, 1024, device="cuda"))
    leaf = State(torch.rand(256, 1024, device="cuda"), root)
    loss = (value(leaf.board) - value(root.board)).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
