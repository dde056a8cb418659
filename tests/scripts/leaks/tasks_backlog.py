"""Two tasks of one event loop: one puts three batches into a queue while the other trains on one.

holder: Queue._queue
made: torch.randn
fix: bound_queue
"""

import asyncio
import sys

import torch
from torch import nn


async def load(batches):
    while True:
        for _ in range(3):
            batches.put_nowait(torch.randn(700, 384, device="cuda"))
        await asyncio.sleep(0)


async def train(batches, model, steps):
    optimizer = torch.optim.Adagrad(model.parameters())
    for _ in range(steps):
        loss = model(await batches.get()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        await asyncio.sleep(0)


async def main(steps):
    batches = asyncio.Queue()
    loading = asyncio.create_task(load(batches))
    training = asyncio.create_task(train(batches, nn.Linear(384, 96).cuda(), steps))
    done, _ = await asyncio.wait({loading, training}, return_when=asyncio.FIRST_COMPLETED)
    loading.cancel()
    for task in done:
        task.result()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
