"""A policy gradient whose log-probabilities are never cleared; the backward keeps the graph to be able to run at all.

holder: graph of Agent.log_probs
"""

import sys

import torch
from torch import nn


class Agent:
    def __init__(self):
        self.net = nn.Sequential(nn.Linear(128, 512), nn.Tanh(), nn.Linear(512, 8)).cuda()
        self.log_probs = []

    def act(self, observation):
        choices = torch.log_softmax(self.net(observation), dim=-1)
        action = torch.zeros(len(observation), 1, dtype=torch.long, device="cuda")
        self.log_probs.append(choices.gather(1, action).squeeze(1))


def main(steps):
    agent = Agent()
    optimizer = torch.optim.Adam(agent.net.parameters(), lr=1e-3)
    for _ in range(steps):
        before = len(agent.log_probs)
        for _ in range(4):
            agent.act(torch.randn(128, 128, device="cuda"))
        loss = -torch.stack(agent.log_probs[before:]).sum()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
