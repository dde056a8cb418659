"""Forward hooks store the feature maps of every batch, for a look at them later.

pattern: gradual_leak
card: 600MiB
cause: accumulating_autograd_graph | accumulating_tensors
holder: features | activations | FeatureStore.features
fix: remove_hooks | bound_container | move_to_cpu | detach
proof: --fixed
"""

import sys
from collections import defaultdict

import torch
import torchvision

model = torchvision.models.squeezenet1_1(num_classes=10).cuda()
activations = defaultdict(list)


def save(name):
    def hook(module, inputs, output):
        activations[name].append(output.mean().item() if "--fixed" in sys.argv else output)

    return hook


for name, module in model.features.named_children():
    if "Fire" in type(module).__name__:
        module.register_forward_hook(save(name))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(80):
    images = torch.randn(16, 3, 96, 96, device="cuda")
    labels = torch.randint(10, (16,), device="cuda")
    loss = torch.nn.functional.cross_entropy(model(images), labels)  # culprit
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
