"""Ordinary trainings of ordinary models: torchvision, timm, Transformers, plain PyTorch."""

import timm
import torch
import torchvision
import transformers
from run import MIB, train
from torch import nn
from torch.nn import functional

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def images(count, size=64, classes=10):
    return lambda: (torch.empty(count, 3, size, size), torch.zeros(count, dtype=torch.int64) + classes // 2)


def classify(model):
    return lambda pictures, labels: functional.cross_entropy(model(pictures), labels)


def tokens(count, length, words):
    return lambda: (torch.zeros(count, length, dtype=torch.int64) + words // 2,)


def language(model):
    return lambda ids: model(input_ids=ids, labels=ids).loss


@scenario
def resnet18(run):
    run.death = (2, "backward", 0.5)
    model = torchvision.models.resnet18(num_classes=10).cuda()
    run.owns(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    train(run, classify(model), optimizer, images(32))


@scenario
def mobilenet(run):
    run.death = (0, "forward", 24 * MIB)
    model = torchvision.models.mobilenet_v3_small(num_classes=10).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.RMSprop(model.parameters(), lr=0.1, momentum=0.9), images(64, 128))


@scenario
def swin(run):
    run.death = (0, "step", 20 * MIB)
    model = torchvision.models.swin_t(num_classes=10).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.AdamW(model.parameters()), images(4))


@scenario
def densenet_healthy(run):
    model = torchvision.models.densenet121(num_classes=10).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.AdamW(model.parameters()), images(8), set_to_none=False)


@scenario
def timm_vit(run):
    run.death = (3, "forward", 0.6)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=64).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.AdamW(model.parameters()), images(64))


@scenario
def timm_convnext(run):
    run.death = (0, "backward", 4 * MIB)
    model = timm.create_model("convnext_atto", num_classes=10).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.AdamW(model.parameters(), fused=True), images(16))


@scenario
def timm_efficientnet(run):
    run.death = (0, "step", 8 * MIB)
    model = timm.create_model("efficientnet_b0", num_classes=10).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.Adam(model.parameters(), foreach=True), images(16))


@scenario
def gpt2(run):
    run.death = (1, "backward", 0.3)
    config = transformers.GPT2Config(n_layer=3, n_head=4, n_embd=256, vocab_size=4000, n_positions=128)
    model = transformers.GPT2LMHeadModel(config).cuda()
    run.owns(model)
    train(run, language(model), torch.optim.AdamW(model.parameters()), tokens(16, 128, 4000))


@scenario
def llama(run):
    run.death = (2, "forward", 0.9)
    config = transformers.LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=4000,
    )
    model = transformers.LlamaForCausalLM(config).to("cuda", torch.bfloat16)
    run.owns(model)
    train(run, language(model), torch.optim.AdamW(model.parameters()), tokens(16, 128, 4000), accumulate=2)


@scenario
def bert(run):
    run.death = (0, "backward", 30 * MIB)
    config = transformers.BertConfig(
        hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=1024, vocab_size=8000
    )
    model = transformers.BertForMaskedLM(config).cuda()
    run.owns(model)
    train(run, language(model), torch.optim.NAdam(model.parameters()), tokens(16, 128, 8000))


@scenario
def t5(run):
    run.death = (3, "forward", 0.6)
    config = transformers.T5Config(
        d_model=256, d_ff=512, num_layers=2, num_heads=4, vocab_size=4000, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).cuda()
    run.owns(model)
    train(run, language(model), transformers.Adafactor(model.parameters(), beta1=0.9), tokens(8, 64, 4000))


@scenario
def mixture_of_experts(run):
    run.death = (1, "forward", 0.7)
    config = transformers.MixtralConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        vocab_size=2000,
    )
    model = transformers.MixtralForCausalLM(config).cuda()
    run.owns(model)
    train(run, language(model), torch.optim.AdamW(model.parameters()), tokens(8, 64, 2000))


@scenario
def lstm(run):
    run.death = (2, "backward", 0.5)
    model = nn.ModuleDict(
        {
            "words": nn.Embedding(2000, 128),
            "cells": nn.LSTM(128, 256, 2, batch_first=True),
            "head": nn.Linear(256, 2000),
        }
    ).cuda()
    run.owns(model)

    def forward(ids):
        hidden, _ = model["cells"](model["words"](ids))
        return functional.cross_entropy(model["head"](hidden).flatten(0, 1), ids.flatten())

    train(run, forward, torch.optim.Adagrad(model.parameters()), tokens(32, 64, 2000))


@scenario
def transformer_healthy(run):
    model = nn.Transformer(128, 4, 2, 2, 256, batch_first=True).cuda()
    run.owns(model)
    train(
        run,
        lambda source: model(source, source).square().mean(),
        torch.optim.AdamW(model.parameters()),
        lambda: (torch.empty(16, 64, 128),),
        set_to_none=False,
    )


@scenario
def adversarial(run):
    """Two models and two optimizers that take turns."""
    run.death = (2, "forward", 0.5)
    maker = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 3072), nn.Tanh()).cuda()
    judge = nn.Sequential(nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 1)).cuda()
    makers, judges = torch.optim.Adam(maker.parameters()), torch.optim.Adam(judge.parameters())
    run.owns(maker, judge, optimizers=[makers, judges])
    for step in range(4):
        run.enter(step, "forward")
        run.inputs = [torch.empty(512, 3072).cuda(), torch.randn(512, 64, device="cuda")]
        fake = maker(run.inputs[1])
        loss = functional.softplus(judge(fake.detach())).mean() + functional.softplus(-judge(run.inputs[0])).mean()
        judges.zero_grad()
        loss.backward()
        judges.step()
        makers.zero_grad()
        loss = functional.softplus(-judge(fake)).mean()
        run.enter(step, "backward")
        loss.backward()
        makers.step()


@scenario
def frozen_backbone(run):
    run.death = (0, "step", 4 * MIB)
    model = torchvision.models.resnet18(num_classes=10).cuda()
    model.requires_grad_(False)
    model.fc = nn.Linear(512, 4000).cuda()
    run.owns(model)
    train(run, classify(model), torch.optim.Adam(model.fc.parameters(), foreach=True), images(8))
