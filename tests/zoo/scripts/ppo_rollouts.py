"""PPO: rollouts are stored with their log-probabilities, graph and all, and the storage is never cleared.

pattern: gradual_leak
card: 500MiB
cause: accumulating_autograd_graph
holder: RolloutStorage.log_probs | storage.log_probs | RolloutStorage
fix: detach | move_to_cpu | bound_container
proof: --fixed
"""

import sys

import torch
from torch import nn
from torch.distributions import Categorical


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(128, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh())
        self.pi, self.v = nn.Linear(512, 18), nn.Linear(512, 1)

    def act(self, obs):
        h = self.body(obs)  # culprit
        dist = Categorical(logits=self.pi(h), validate_args=False)
        action = dist.sample()
        return action, dist.log_prob(action), self.v(h).squeeze(-1)


class RolloutStorage:
    def __init__(self):
        self.obs, self.actions, self.log_probs, self.values = [], [], [], []

    def insert(self, obs, action, log_prob, value):
        self.obs.append(obs.cpu())
        self.actions.append(action.cpu())
        self.log_probs.append(log_prob.detach() if "--fixed" in sys.argv else log_prob)  # culprit
        self.values.append(value.detach())


agent = ActorCritic().cuda()
optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4)
storage = RolloutStorage()
for update in range(60):
    for _ in range(4):
        obs = torch.randn(256, 128, device="cuda")
        storage.insert(obs, *agent.act(obs))  # culprit
    obs = torch.cat(storage.obs[-4:]).cuda()
    _, log_prob, value = agent.act(obs)
    loss = -(log_prob * torch.randn_like(log_prob)).mean() + value.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
