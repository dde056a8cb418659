"""Real trainings on the simulated GPU, one a line of JSON on stdin: the truth for `oomtrace plan`.

Run under `oomtrace dryrun --no-record`. PyTorch is imported once; each point runs in a child. Answers with PyTorch's
own counters, one JSON object a line: {"allocated": bytes, "reserved": bytes}, or {"died": true}.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "gpt"))


def nanogpt(point):
    """examples/gpt, whose loop is nanoGPT's: an evaluation, then steps with accumulation."""
    import train
    from settings import Settings

    if point.get("checkpointing"):
        import model
        from torch.utils.checkpoint import checkpoint

        forward = model.Block.forward
        model.Block.forward = lambda self, x: (
            checkpoint(forward, self, x, use_reentrant=False) if self.training else forward(self, x)
        )
    dtype = {"amp-bf16": "bfloat16", "amp-fp16": "float16", "fp32": "float32"}[point["precision"]]
    settings = Settings(
        n_layer=point["layers"],
        n_head=point["heads"],
        n_embd=point["hidden"],
        block_size=point["sequence"],
        batch_size=point["batch"],
        gradient_accumulation_steps=point["accumulation"],
        dropout=point.get("dropout", 0.0),
        bias=point.get("bias", False),
        vocab_size=point.get("vocabulary", 50304),
        dtype=dtype,
        compile=point.get("compile", False),
        eval_iters=1,
        eval_interval=10**6,
        max_iters=2,
        grad_clip=1.0,
    )
    train.train(settings)


def transformers(point):
    """A Transformers model from its configuration, in a loop that keeps the loss alone."""
    import transformers
    import transformers.masking_utils

    # The batches hold no padding: a real card would find that out and leave the mask away; a simulated one computes no
    # comparison of this kind.
    transformers.masking_utils._ignore_causal_mask_sdpa = lambda *arguments, **keywords: True
    options = dict(point["config"])
    config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
    precision = point["precision"]
    model = transformers.AutoModelForCausalLM.from_config(
        config, dtype=torch.bfloat16 if precision == "bf16" else torch.float32
    ).cuda()
    model.config.use_cache = False
    if point.get("checkpointing"):
        model.gradient_checkpointing_enable()
    model.train()
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p),
        "adamw-fused": lambda p: torch.optim.AdamW(p, fused=True),
        "adamw-loop": lambda p: torch.optim.AdamW(p, foreach=False),
        "sgd": lambda p: torch.optim.SGD(p, lr=1e-3),
        "sgd-momentum": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
    }
    optimizer = kinds[point.get("optimizer", "adamw-fused")](model.parameters())
    autocast = {"amp-bf16": torch.bfloat16, "amp-fp16": torch.float16}.get(precision)
    for _ in range(3):
        for _ in range(point["accumulation"]):
            x = torch.zeros(point["batch"], point["sequence"], dtype=torch.long).cuda()
            with torch.autocast("cuda", autocast) if autocast else contextlib.nullcontext():
                loss = model(input_ids=x, attention_mask=torch.ones_like(x), labels=x).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def run(point):
    (transformers if "config" in point else nanogpt)(point)
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def main():
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                answer = run(json.loads(line))
            except torch.OutOfMemoryError:
                answer = {"died": True}
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as stream:
            answer = stream.read()
        os.waitpid(child, 0)
        print(answer or json.dumps({"failed": True}), flush=True)


if __name__ == "__main__":
    main()
