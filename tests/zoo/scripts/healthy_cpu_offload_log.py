"""Predictions of all validation batches are collected, on the host; activations are looked at by a hook, as numbers.

pattern: healthy
card: 900MiB
"""

import torch
import torchvision

net = torchvision.models.mobilenet_v2(num_classes=5).cuda()
statistics = {}
for name, module in net.named_modules():
    if isinstance(module, torch.nn.Conv2d):
        module.register_forward_hook(lambda m, i, o, name=name: statistics.update({name: float(o.shape[1])}))
opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
for epoch in range(3):
    net.train()
    for _ in range(4):
        x, y = torch.randn(16, 3, 64, 64, device="cuda"), torch.randint(5, (16,), device="cuda")
        loss = torch.nn.functional.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    outputs = []
    for _ in range(6):
        with torch.no_grad():
            outputs.append(net(torch.randn(32, 3, 64, 64, device="cuda")).softmax(1).cpu())
    torch.cat(outputs)
