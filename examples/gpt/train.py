"""Train a GPT-2 the way most people first do: one GPU, mixed precision, gradient accumulation, a loss estimate.

    python train.py --batch_size=12 --block_size=1024 --gradient_accumulation_steps=40

Every setting of settings.py is a flag. Without data/<dataset>/{train,val}.bin beside this file it trains on random
tokens: memory does not care.
"""

import contextlib
import math
import os
import time

import numpy as np
import torch
from model import GPT, GPTConfig
from settings import Settings, parse_settings

HERE = os.path.dirname(os.path.abspath(__file__))


class Batches:
    """Random windows of a token file, pinned so that the copy to the GPU can overlap the forward pass."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.random_tokens = np.random.default_rng(settings.seed).integers(
            0, min(settings.vocab_size, 50257), size=1_000_000 + settings.block_size, dtype=np.uint16
        )

    def _tokens(self, split):
        path = os.path.join(HERE, "data", self.settings.dataset, f"{split}.bin")
        # Mapped anew for each batch: a long-lived memmap keeps every page it ever touched in the resident set.
        return np.memmap(path, dtype=np.uint16, mode="r") if os.path.exists(path) else self.random_tokens

    def get(self, split):
        tokens, length = self._tokens(split), self.settings.block_size
        starts = torch.randint(len(tokens) - length, (self.settings.batch_size,)).tolist()
        x = torch.stack([torch.from_numpy(tokens[i : i + length].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(tokens[i + 1 : i + 1 + length].astype(np.int64)) for i in starts])
        device = self.settings.device
        if not device.startswith("cuda"):
            return x.to(device), y.to(device)
        return x.pin_memory().to(device, non_blocking=True), y.pin_memory().to(device, non_blocking=True)


def learning_rate(settings: Settings, iteration):
    """Linear warm-up, then a cosine down to min_lr."""
    if not settings.decay_lr:
        return settings.learning_rate
    if iteration < settings.warmup_iters:
        return settings.learning_rate * (iteration + 1) / (settings.warmup_iters + 1)
    if iteration > settings.lr_decay_iters:
        return settings.min_lr
    progress = (iteration - settings.warmup_iters) / (settings.lr_decay_iters - settings.warmup_iters)
    return settings.min_lr + 0.5 * (1.0 + math.cos(math.pi * progress)) * (settings.learning_rate - settings.min_lr)


@torch.no_grad()
def estimate_loss(model, batches, precision, iterations):
    """Mean loss over a number of random batches of each split."""
    model.eval()
    means = {}
    for split in ("train", "val"):
        losses = torch.zeros(iterations)
        for k in range(iterations):
            x, y = batches.get(split)
            with precision:
                logits, loss = model(x, y)
            losses[k] = loss.item()
        means[split] = losses.mean().item()
    model.train()
    return means


def save_checkpoint(settings: Settings, model, optimizer, iteration, best):
    os.makedirs(settings.out_dir, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": iteration, "best": best}
    torch.save(state, os.path.join(settings.out_dir, "ckpt.pt"))


def train(settings: Settings):
    torch.manual_seed(settings.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    on_gpu = settings.device.startswith("cuda")
    precision = torch.amp.autocast("cuda", dtype=getattr(torch, settings.dtype)) if on_gpu else contextlib.nullcontext()

    batches = Batches(settings)
    shape = {name: getattr(settings, name) for name in GPTConfig.__dataclass_fields__}
    model = GPT(GPTConfig(**shape)).to(settings.device)
    tokens = settings.gradient_accumulation_steps * settings.batch_size * settings.block_size
    print(f"parameters: {model.parameter_count() / 1e6:.2f}M, tokens per iteration: {tokens:,}", flush=True)
    scaler = torch.amp.GradScaler("cuda", enabled=on_gpu and settings.dtype == "float16")
    optimizer = model.make_optimizer(
        settings.weight_decay, settings.learning_rate, (settings.beta1, settings.beta2), fused=on_gpu
    )
    raw_model = model
    if settings.compile:
        model = torch.compile(model)

    best = float("inf")
    x, y = batches.get("train")
    started = time.perf_counter()
    for iteration in range(settings.max_iters + 1):
        rate = learning_rate(settings, iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate

        if iteration % settings.eval_interval == 0:
            losses = estimate_loss(model, batches, precision, settings.eval_iters)
            print(f"step {iteration}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}", flush=True)
            improved = losses["val"] < best
            best = min(best, losses["val"])
            if iteration > 0 and (improved or settings.always_save_checkpoint):
                save_checkpoint(settings, raw_model, optimizer, iteration, best)
        if iteration == 0 and settings.eval_only:
            break

        for _ in range(settings.gradient_accumulation_steps):
            with precision:
                logits, loss = model(x, y)
                loss = loss / settings.gradient_accumulation_steps
            # The next batch is fetched while the GPU still works on this one.
            x, y = batches.get("train")
            scaler.scale(loss).backward()
        if settings.grad_clip:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

        now = time.perf_counter()
        if iteration % settings.log_interval == 0:
            shown = loss.item() * settings.gradient_accumulation_steps
            print(f"iter {iteration}: loss {shown:.4f}, time {(now - started) * 1e3:.1f}ms", flush=True)
        started = now


if __name__ == "__main__":
    train(parse_settings())
