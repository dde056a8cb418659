"""The training settings and their command line: every field is a flag, --name=value."""

import argparse
from dataclasses import dataclass, fields


@dataclass
class Settings:
    """Names and defaults as nanoGPT's, so that its recipes and its out-of-memory reports carry over."""

    out_dir: str = "out"
    eval_interval: int = 2000
    log_interval: int = 1
    eval_iters: int = 200
    eval_only: bool = False
    always_save_checkpoint: bool = True
    dataset: str = "openwebtext"
    gradient_accumulation_steps: int = 40
    batch_size: int = 12
    block_size: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = False
    vocab_size: int = 50304
    learning_rate: float = 6e-4
    max_iters: int = 600000
    weight_decay: float = 1e-1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0
    decay_lr: bool = True
    warmup_iters: int = 2000
    lr_decay_iters: int = 600000
    min_lr: float = 6e-5
    device: str = "cuda"
    dtype: str = "bfloat16"
    compile: bool = True
    seed: int = 1337


def _boolean(text):
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")
    return words[text.lower()]


def parse_settings(arguments=None):
    parser = argparse.ArgumentParser(
        description="Train a GPT-2 on data/<dataset>/train.bin (uint16 tokens), else on random tokens.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in fields(Settings):
        kind = _boolean if field.type is bool else field.type
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, metavar=field.type.__name__, help=" ")
    settings = Settings(**vars(parser.parse_args(arguments)))
    if settings.dtype not in ("float32", "bfloat16", "float16"):
        parser.error(f"--dtype={settings.dtype}: expected float32, bfloat16 or float16")
    return settings
