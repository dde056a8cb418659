"""Tasks that wait for an event which never comes, each with its tensor in a local variable.

holder: a local of report()|tasks
made: net(x)
"""

import asyncio
import sys

import torch
from torch import nn


async def report(done, step, scores):
    await done.wait()
    print(step, scores.sum().item())


async def main(steps):
    net = nn.Linear(128, 900).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    done, tasks = asyncio.Event(), set()
    for step in range(steps):
        x = torch.randn(300, 128, device="cuda")
        out = net(x)
        out.logsumexp(1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        tasks.add(asyncio.create_task(report(done, step, out.detach())))
        del out
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
