"""T5 of Transformers in a loop of one's own: labels over a vocabulary of 24000.

pattern: first_batch
card: 1.2GiB
cause: logits_too_large | activations_too_large
fix: micro_batch | micro_batch_expandable_segments | chunked_cross_entropy
run: --bsz 24
proof: --bsz 2
"""

import argparse

import torch
from transformers import T5Config, T5ForConditionalGeneration

parser = argparse.ArgumentParser()
parser.add_argument("--bsz", type=int, default=4)
args = parser.parse_args()
config = T5Config(vocab_size=24000, d_model=128, d_kv=32, d_ff=512, num_layers=2, num_heads=4, decoder_start_token_id=0)
model = T5ForConditionalGeneration(config).cuda()
optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-3)
for step in range(3):
    source = torch.randint(24000, (args.bsz, 256), device="cuda")
    target = torch.randint(24000, (args.bsz, 256), device="cuda")
    out = model(input_ids=source, labels=target)  # culprit
    out.loss.backward()  # culprit
    optimizer.step()
    optimizer.zero_grad()
