"""A language model in fp32 that is larger than the card; it never gets to the first batch.

pattern: at_start
card: 800MiB
cause: model_states_too_large
fix: shard_states | train_adapters | bf16_states
proof: --fixed
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    vocab_size=8000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=12, num_attention_heads=16
)
with torch.device("meta"):
    model = LlamaForCausalLM(config)
model = model.to(torch.bfloat16) if "--fixed" in sys.argv else model
model = model.to_empty(device="cuda")  # culprit
ids = torch.randint(8000, (1, 16), device="cuda")
with torch.no_grad():
    print(model(ids).logits.shape)
