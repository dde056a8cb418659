"""backward(create_graph=True), and gradients that are zeroed as data: each keeps the graph of the one before it.

holder: graph of
made: model(|cross_entropy|backward|relu
"""

import sys

import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(128, 512), torch.nn.Linear(512, 16)

    def forward(self, x):
        return self.last(self.first(x).relu())


def main(steps):
    model = Net().cuda()
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3)
    for step in range(steps):
        x, y = torch.randn(256, 128, device="cuda"), torch.randint(16, (256,), device="cuda")
        F.cross_entropy(model(x), y).backward(create_graph=True)
        if step % 50 == 0:
            print(sum(p.grad.norm() for p in model.parameters()).item(), flush=True)
        sgd.step()
        for p in model.parameters():
            p.grad.data.zero_()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
