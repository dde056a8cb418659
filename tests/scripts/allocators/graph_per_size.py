"""kept|bare [share|few]: a CUDA graph is captured for each new length of a sequence, and never let go.

kept: with its input and its output. bare: the graph alone; it reads and writes buffers that all of them share.
"""

import sys

import torch

model = torch.nn.Sequential(torch.nn.Linear(512, 6144), torch.nn.GELU(), torch.nn.Linear(6144, 512)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
source = torch.zeros(8192, 512, device="cuda")
total = torch.zeros((), device="cuda")
pool = torch.cuda.graph_pool_handle() if "share" in sys.argv else None


class Engine:
    def __init__(self):
        self.by_length = {}

    def capture(self, length):
        graph = torch.cuda.CUDAGraph()
        batch = torch.zeros(length, 512, device="cuda") if sys.argv[1] == "kept" else source[:length]
        with torch.cuda.graph(graph, pool=pool):
            result = model(batch)
            loss = result.square().mean()
            loss.backward()
            total.copy_(loss.detach())
        return (graph, batch, result.detach()) if sys.argv[1] == "kept" else graph

    def step(self, length):
        if "few" in sys.argv:
            length = -(-length // 512) * 512
        if length not in self.by_length:
            self.by_length[length] = self.capture(length)
        entry = self.by_length[length]
        (entry if sys.argv[1] == "bare" else entry[0]).replay()
        optimizer.step()


engine = Engine()
for i in range(int(sys.argv[2])):
    engine.step(384 + 32 * i)
