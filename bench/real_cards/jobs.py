"""The jobs whose device memory was measured on A100s, trained again on the simulated one.

Run under `oomtrace dryrun --no-record`. Reads rows of a CSV file as JSON, one a line, from stdin; each is trained in a
child of this interpreter, and answered with one JSON line: {"reserved": bytes, "allocated": bytes} at their peaks by
PyTorch's counters, "end" ("ok", "out of memory", or the error), and, of timm's models, "parameters" (bytes) and
"convolutions" (those that reach beyond one pixel and are no cut into patches).

The MLPs and their loop follow the published generator of that data set; timm's loop follows timm's train.py with its
defaults: SGD with Nesterov momentum and weight decay, cudnn.benchmark, gradients freed after the step, and a loader
that copies and normalizes the next batch on a stream of its own meanwhile.
"""

import json
import os
import sys

import timm
import torch
from torch import nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
MLP_SAMPLES = 4096
# timm's second batch meets the optimizer's state and the loader's second buffer; two more change nothing.
TIMM_STEPS = 4


def widths(row):
    """Output widths of an MLP's hidden layers."""
    width, outputs, layers = int(row["input_size"]), int(row["output_size"]), int(row["hidden_layers"])
    narrower = (width - outputs) // layers
    for _ in range(layers + (row["architecture"] == "bottleneck")):
        if row["architecture"] == "gradual":
            width = max(width - narrower, outputs)
        elif row["architecture"] != "uniform":
            width = max(width // 2, outputs)
        yield width


def mlp(row):
    layers, before = [], int(row["input_size"])
    for width in widths(row):
        layers.append(nn.Linear(before, width))
        if row["use_batch_norm"] == "True":
            layers.append(nn.BatchNorm1d(width))
        layers.append(ACTIVATIONS[row["activation"]]())
        if row["use_dropout"] == "True":
            layers.append(nn.Dropout(float(row["dropout_rate"])))
        before = width
    outputs = int(row["output_size"])
    layers += [nn.Linear(before, outputs), nn.Softmax(dim=1) if outputs > 1 else nn.Identity()]
    return nn.Sequential(*layers)


def train_mlp(row, _):
    inputs, outputs, batch = int(row["input_size"]), int(row["output_size"]), int(row["batch_size"])
    model = mlp(row).cuda()
    model(torch.rand(2, inputs).cuda())  # the summary that is printed first
    optimizer = torch.optim.Adam(model.parameters())
    loss_of = nn.CrossEntropyLoss() if outputs > 1 else nn.BCEWithLogitsLoss()
    data, labels = torch.zeros(MLP_SAMPLES, inputs), torch.zeros(MLP_SAMPLES, dtype=torch.long)
    for _ in range(2):
        for first in range(0, MLP_SAMPLES, batch):
            x, y = data[first : first + batch].cuda(), labels[first : first + batch].cuda()
            optimizer.zero_grad()
            loss = loss_of(model(x), y if outputs > 1 else y.view(-1, 1).float())
            loss.backward()
            optimizer.step()


def prefetched(batch, size):
    """timm's PrefetchLoader."""
    mean, deviation = (torch.full((1, 3, 1, 1), value).cuda() for value in (116.0, 57.0))
    stream, ready = torch.cuda.Stream(), None
    for _ in range(TIMM_STEPS + 1):
        with torch.cuda.stream(stream):
            images = torch.empty(batch, *size, dtype=torch.uint8).cuda(non_blocking=True)
            labels = torch.zeros(batch, dtype=torch.long).cuda(non_blocking=True)
            images = images.to(torch.float32).sub_(mean).div_(deviation)
        if ready is not None:
            yield ready
        torch.cuda.current_stream().wait_stream(stream)
        ready = images, labels


def train_timm(row, facts):
    torch.backends.cudnn.benchmark = True
    model = timm.create_model(row["timm_model"]).cuda()
    facts["parameters"] = sum(parameter.nbytes for parameter in model.parameters())
    facts["convolutions"] = sum(
        max(layer.kernel_size) > 1 and layer.kernel_size != layer.stride
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=2e-5)
    loss_of = nn.CrossEntropyLoss()
    for images, labels in prefetched(int(row["batch_size"]), model.default_cfg["input_size"]):
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def answer(row):
    result = {"end": "ok"}
    try:
        (train_timm if "timm_model" in row else train_mlp)(row, result)
    except torch.cuda.OutOfMemoryError:
        result["end"] = "out of memory"
    except Exception as error:
        result["end"] = repr(error)
    stats = torch.cuda.memory_stats()
    return result | {name: stats[f"{name}_bytes.all.peak"] for name in ("reserved", "allocated")}


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            print(json.dumps(answer(json.loads(line))), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            print(json.dumps({"end": f"status {os.waitstatus_to_exitcode(status)}"}), flush=True)


main()
