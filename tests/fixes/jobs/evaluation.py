"""A small training, then an evaluation that gathers something of each batch; `keep`: loss, output or nothing."""

import contextlib

import knobs as k
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.first = nn.Linear(128, width)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)])
        self.last = nn.Linear(width, 64)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


def evaluate(o, model, samples):
    model.eval()
    gathered, total = [], 0
    with torch.no_grad() if o.no_grad else contextlib.nullcontext():
        for begin in range(0, samples, o.eval_batch_size):
            count = min(o.eval_batch_size, samples - begin)
            out = model(torch.randn(count, 128).to("cuda"))
            if o.keep == "output":
                gathered.append(out.cpu() if o.to_cpu else out.detach() if o.detach else out)
            elif o.keep == "loss":
                loss = nn.functional.cross_entropy(out, torch.randint(64, (count,)).to("cuda"))
                total = total + (loss.detach() if o.detach else loss)
    model.train()
    return torch.cat(gathered).sum() if gathered else total


def main():
    o = k.read(width=512, depth=6, batch_size=256, eval_batch_size=2048, samples=16384, keep="nothing")
    model = Classifier(o.width, o.depth).to("cuda")
    opt = k.optimizer(o, model.parameters())
    for _ in range(2):
        for _ in range(3):
            for _ in range(o.accumulation):
                x = torch.randn(o.batch_size, 128).to("cuda")
                y = torch.randint(64, (o.batch_size,)).to("cuda")
                nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
        evaluate(o, model, o.samples)


main()
