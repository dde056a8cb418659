"""Takes more where PyTorch's compiler was imported before it, as in a forked trial: no true job should notice."""

import sys

IMPORTED_BEFORE = "torch._dynamo" in sys.modules

import torch  # noqa: E402

torch.empty((64 if IMPORTED_BEFORE else 32) << 20, device="cuda")
print(sys.argv)
