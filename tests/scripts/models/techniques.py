"""What changes who owns the bytes: precision, checkpointing, functional code, graphs, compilation, sharding, copies."""

import copy
import os

import torch
import torchvision
import transformers
from ordinary import classify, images, language, tokens
from run import MIB, train
from torch import nn
from torch.utils import checkpoint

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def perceptron(width=512, depth=4):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(width, 10)).cuda()


def vectors(count, width=512):
    return lambda: (torch.empty(count, width), torch.zeros(count, dtype=torch.int64))


@scenario
def autocast_with_scaler(run):
    run.death = (3, "backward", 0.5)
    model = torchvision.models.resnet18(num_classes=10).cuda()
    run.owns(model)
    scaler = torch.amp.GradScaler("cuda")
    optimizer = torch.optim.AdamW(model.parameters())
    run.optimizers.append(optimizer)
    for step in range(5):
        run.enter(step, "forward")
        run.inputs = [tensor.cuda() for tensor in images(32)()]
        with torch.autocast("cuda", torch.float16):
            loss = classify(model)(*run.inputs)
        run.enter(step, "backward")
        scaler.scale(loss).backward()
        run.enter(step, "step")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()


@scenario
def masters(run):
    """A half-precision model whose optimizer works on copies in full precision."""
    run.death = (3, "forward", 0.5)
    model = perceptron().to(torch.bfloat16)
    weights = [parameter.detach().float().requires_grad_() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(weights)
    run.owns(model, optimizers=[optimizer])
    for step in range(5):
        run.enter(step, "forward")
        run.inputs = [tensor.cuda() for tensor in vectors(2048)()]
        loss = classify(model)(run.inputs[0].to(torch.bfloat16), run.inputs[1])
        run.enter(step, "backward")
        loss.backward()
        for weight, parameter in zip(weights, model.parameters(), strict=True):
            weight.grad = parameter.grad.float()
            parameter.grad = None
        run.enter(step, "step")
        optimizer.step()
        with torch.no_grad():
            for weight, parameter in zip(weights, model.parameters(), strict=True):
                parameter.copy_(weight)
        optimizer.zero_grad()


def checkpointed(run, reentrant):
    run.death = (0, "backward", 4 * MIB)
    model = perceptron(depth=6)
    run.owns(model)

    def forward(batch, labels):
        hidden = batch.requires_grad_()
        for layer in model:
            hidden = checkpoint.checkpoint(layer, hidden, use_reentrant=reentrant)
        return nn.functional.cross_entropy(hidden, labels)

    train(run, forward, torch.optim.AdamW(model.parameters()), vectors(4096))


@scenario
def checkpoint_reentrant(run):
    checkpointed(run, True)


@scenario
def checkpoint_saved_tensors(run):
    checkpointed(run, False)


@scenario
def checkpointed_llama(run):
    run.death = (1, "backward", 0.5)
    config = transformers.LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, vocab_size=4000
    )
    model = transformers.LlamaForCausalLM(config).cuda()
    model.gradient_checkpointing_enable()
    run.owns(model)
    train(run, language(model), torch.optim.AdamW(model.parameters()), tokens(8, 128, 4000))


@scenario
def functional_transforms(run):
    """torch.func: parameters in a dict, gradients that no .grad holds."""
    model = perceptron()
    run.leaves = list(model.parameters())  # in a call they are exchanged for what torch.func wraps
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run.copies = [weights]

    def loss_of(weights, batch, labels):
        return nn.functional.cross_entropy(torch.func.functional_call(model, weights, (batch,)), labels)

    run.death = (3, "forward", 0.7)
    for step in range(5):
        run.enter(step, "forward")
        run.inputs = [tensor.cuda() for tensor in vectors(4096)()]
        gradients = torch.func.grad(loss_of)(weights, *run.inputs)
        run.enter(step, "step")
        with torch.no_grad():
            for name, weight in weights.items():
                weight -= 0.1 * gradients[name]
        del gradients


@scenario
def weights_without_a_module(run):
    run.death = (3, "backward", 0.4)
    run.leaves = [torch.randn(1024, 1024, device="cuda", requires_grad=True) for _ in range(6)]
    optimizer = torch.optim.AdamW(run.leaves)

    def forward(batch, labels):
        for weight in run.leaves:
            batch = torch.relu(batch @ weight)
        return nn.functional.cross_entropy(batch, labels)

    train(run, forward, optimizer, vectors(2048, 1024))


@scenario
def captured_graph(run):
    """Forward and backward in a CUDA graph, with a private pool."""
    model = perceptron()
    run.owns(model)
    optimizer = torch.optim.AdamW(model.parameters(), capturable=True)
    run.optimizers.append(optimizer)
    batch, labels = (tensor.cuda() for tensor in vectors(1024)())
    run.inputs = [batch, labels]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.zero_grad()
            classify(model)(batch, labels).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        classify(model)(batch, labels).backward()
        optimizer.step()
    run.death = (0, "forward", 24 * MIB)
    for _ in range(3):
        graph.replay()
    run.enter(0, "forward")
    run.inputs.append(torch.empty(8192, 512).cuda())
    classify(model)(run.inputs[-1], labels)


def compiled(run, model, forward, batch, death):
    run.death = death
    run.owns(model)
    train(run, forward, torch.optim.AdamW(model.parameters()), batch)


@scenario
def compiled_perceptron(run):
    model = perceptron()
    compiled(run, model, classify(torch.compile(model)), vectors(4096), (2, "backward", 0.5))


@scenario
def compiled_gpt2(run):
    config = transformers.GPT2Config(n_layer=2, n_head=4, n_embd=128, vocab_size=2000, n_positions=64)
    model = transformers.GPT2LMHeadModel(config).cuda()
    compiled(run, model, language(torch.compile(model)), tokens(16, 64, 2000), (2, "forward", 0.7))


@scenario
def compiled_resnet(run):
    model = torchvision.models.resnet18(num_classes=10).cuda()
    compiled(run, model, classify(torch.compile(model)), images(16), (3, "step", 0.5))


class QuantisedAdam(torch.optim.Optimizer):
    """States of one byte an element, in blocks of 256 with a scale each: the layout of the 8-bit optimizers."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 1e-3})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter)

    def update(self, parameter):
        state = self.state[parameter]
        if not state:
            for moment in ("first", "second"):
                state[moment] = torch.zeros(parameter.numel(), dtype=torch.uint8, device=parameter.device)
                state[f"{moment}_scale"] = torch.zeros(parameter.numel() // 256 + 1, device=parameter.device)
        blocks = nn.functional.pad(parameter.grad.flatten(), (0, -parameter.numel() % 256)).view(-1, 256)
        scale = blocks.abs().amax(1, keepdim=True)
        state["first"].copy_((blocks / scale * 127).flatten()[: parameter.numel()])
        parameter.sub_(state["first"].float().view_as(parameter), alpha=1e-3)


@scenario
def quantised_state(run):
    run.death = (2, "step", 0.5)
    model = perceptron(1024)
    run.owns(model)
    train(run, classify(model), QuantisedAdam(model.parameters()), vectors(512, 1024))


@scenario
def averaged_model(run):
    run.death = (4, "forward", 0.5)
    model = perceptron(1024)
    run.owns(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    run.copies = [average]
    train(
        run,
        classify(model),
        torch.optim.AdamW(model.parameters()),
        vectors(1024, 1024),
        steps=6,
        after=lambda _: average.update_parameters(model),
    )


@scenario
def copied_model(run):
    """A moving average by hand, begun in the third step."""
    run.death = (4, "forward", 0.5)
    model = perceptron(1024)
    run.owns(model)

    @torch.no_grad()
    def average(step):
        if step == 2:
            run.copies = [copy.deepcopy(model).requires_grad_(False)]
        for mean, new in zip(run.copies[0].parameters() if run.copies else (), model.parameters(), strict=False):
            mean.lerp_(new, 0.1)

    train(run, classify(model), torch.optim.AdamW(model.parameters()), vectors(1024, 1024), steps=6, after=average)


@scenario
def generation(run):
    """A model that generates, with a cache of keys and values."""
    config = transformers.LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=1000
    )
    model = transformers.LlamaForCausalLM(config).cuda().eval()
    run.owns(model)
    cache = transformers.DynamicCache(config=config)
    run.death = (0, "forward", 64 * MIB)
    run.enter(0, "forward")
    run.inputs = [torch.ones(16, 16, dtype=torch.int64).cuda()]
    run.caches = cache.layers
    model.generate(*run.inputs, max_new_tokens=400, min_new_tokens=400, do_sample=False, past_key_values=cache)


def process_group(backend, ranks):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29653", "RANK": "0", "WORLD_SIZE": str(ranks)}
    if backend == "fake":
        from torch.testing._internal.distributed.fake_pg import FakeStore

        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    else:
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=ranks)


@scenario
def distributed_data_parallel(run):
    run.death = (2, "backward", 0.5)
    process_group("gloo", 1)
    model = perceptron(1024)
    run.owns(model)
    wrapped = nn.parallel.DistributedDataParallel(model, device_ids=[0])
    run.buckets = -(-sum(parameter.nbytes for parameter in model.parameters()) // 512) * 512
    train(run, classify(wrapped), torch.optim.AdamW(model.parameters()), vectors(2048, 1024))


@scenario
def fully_sharded(run):
    from torch.distributed.fsdp import fully_shard

    run.death = (2, "backward", 0.5)
    process_group("fake", 2)
    model = perceptron(1024)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    run.owns(model)
    train(run, classify(model), torch.optim.AdamW(model.parameters()), vectors(2048, 1024))
