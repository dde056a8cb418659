"""The scripts that the tests run."""

# Trains, and after each step says how many blocks the caching allocator has handed out and taken back: all of them must
# be in the trace of a process that dies at any later moment.
TRAIN = """
import sys
import torch
import torch.nn as nn

def main(die_at, how):
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model.train()
    for step in range(1000000):
        x = torch.randn(8, 64).cuda()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        stats = torch.cuda.memory_stats()
        print(step, stats["allocation.all.allocated"], stats["allocation.all.freed"], flush=True)
        if step == die_at:
            how()

def end():
    sys.exit(0)

def os_exit():
    import os
    os._exit(7)

def segfault():
    import ctypes
    ctypes.string_at(0)

def abort():
    import os
    os.abort()

def never():
    pass

main(int(sys.argv[1]), globals()[sys.argv[2]])
"""

# Dies of a list that grows.
LEAK = """
import torch

class Collector:
    def __init__(self):
        self.history = []

    def run(self):
        while True:
            self.history.append(torch.empty(1 << 28, device="cuda"))  # the line that dies

Collector().run()
"""

CPU_TRAINING = """
import torch
import torch.nn as nn

torch.manual_seed(3)
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.3), nn.Linear(64, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(30):
    if step % 10 == 9:
        model.eval()
        with torch.no_grad():
            print("eval", model(torch.ones(2, 32)).sum().item().hex())
        model.train()
    x = torch.randn(16, 32)
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item().hex(), torch.rand(1).item().hex())
"""

# Trains until so many blocks were handed out that a small trace has been folded many times, and says what is alive.
LONG = """
import torch

model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)]).cuda()
model.train()
optimizer = torch.optim.AdamW(model.parameters())
steps = 0
while torch.cuda.memory_stats()["allocation.all.allocated"] < 300000:
    for _ in range(50):
        model(torch.randn(8, 64, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
print(steps, torch.cuda.memory_allocated(), flush=True)
import os
os.kill(os.getpid(), 9)
"""

THREAD = """
import threading
import torch

def work():
    model = torch.nn.Linear(256, 256).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(4):
        loss = model(torch.randn(32, 256, device="cuda")).square().mean()  # the forward
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

thread = threading.Thread(target=work)
thread.start()
thread.join()  # the main thread makes no pending calls meanwhile
"""
