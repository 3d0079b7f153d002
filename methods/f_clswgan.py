"""f-CLSWGAN: a generator of image features for a described class, taught by a critic and by a classifier.

Family: zsl (zero-shot learning from true labels).

x' = G(z, s),   z ~ N(0, 1)
critic:     mean D(x', s) - mean D(x, s) + penalty * mean (|d D(m, s) / d m| - 1)^2,   m = e x + (1 - e) x'
generator:  - mean D(x', s) + aid * mean CE(softmax(x' W + b), c)

W and b are a softmax regression on the real images and their soft labels, fitted once before training. G and D have two
layers with a leaky ReLU between them, so the critic's slope is a product of its weights and needs no second derivative.
Afterwards G imagines examples of the unseen classes (see `pzsl_bench.blocks.generation`).

G learns from nothing what images of a text look like. On real CLIP features of Caltech-101, 35 seen classes, T1 is 51
at rate 0 and 39 at 0.1 with uniform candidates, where zero-shot CLIP has 97; seen classes gain, as by a classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.blocks.distributions import normal
from pzsl_bench.blocks.generation import GENERATIVE_DEVIATIONS, Generative
from pzsl_bench.blocks.softmax_regression import softmax_regression
from pzsl_bench.contract import (
    Batch,
    Citation,
    Net,
    Output,
    State,
    Study,
    Update,
    hyper,
    method,
    soft_cross_entropy,
)
from pzsl_bench.contract.heads import Dense

MIN_SLOPE = 1e-12
"""The smallest length of the critic's slope, as a square root has no derivative at zero."""


class TwoLayers(nn.Module):
    """A linear layer, a leaky ReLU, a linear layer."""

    def __init__(self, inputs: int, hidden: int, outputs: int, leak: float):
        super().__init__()
        self.inner = Dense(inputs, hidden)
        self.out = Dense(hidden, outputs)
        self.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) -> (B, out)."""
        outputs: Tensor = self.out(F.leaky_relu(self.inner(x), self.leak))
        return outputs

    def slopes(self, x: Tensor) -> Tensor:
        """(B, in) -> (B, in) derivatives of the only output."""
        inner = self.inner(x)
        passing = torch.where(inner > 0, torch.ones_like(inner), self.leak)
        return (passing * self.out.weight[:, 0]) @ self.inner.weight.T


class Adversaries(nn.Module):
    """The generator and its critic."""

    def __init__(self, latent: int, semantics: int, width: int, hidden: int, leak: float):
        super().__init__()
        self.generator = TwoLayers(latent + semantics, hidden, width, leak)
        self.critic = TwoLayers(width + semantics, hidden, 1, leak)

    def forward(self, inputs: Tensor, texts: Tensor, part: str = "generator") -> Tensor:
        """Outputs of one part for its inputs, (B, latent + a) or (B, d + a), or the slopes of the critic."""
        if part == "slopes":
            return self.critic.slopes(inputs)
        outputs: Tensor = (self.generator if part == "generator" else self.critic)(inputs)
        return outputs


@method(
    "f_clswgan",
    title="f-CLSWGAN",
    family="zsl",
    citation=Citation(
        "Xian, Lorenz, Schiele and Akata",
        "Feature Generating Networks for Zero-Shot Learning",
        "CVPR",
        2018,
        "https://arxiv.org/abs/1712.00981",
    ),
    deviations=(
        *GENERATIVE_DEVIATIONS,
        "Critic and generator move together in every step, each with the other held constant; the paper moves the"
        " critic five times before the generator once.",
        "aid is 0.3 instead of 0.01, as images have length one here and the critic's values are smaller for it. On the"
        " rehearsal of `shapes`, flip at 0.3, T1 is 85 with 0.3 and 46 with 0.01.",
        "The last layer is linear, and what it makes is put on the unit sphere where images lie on it; the paper's ReLU"
        " suits features that are never negative (`last: relu`).",
        "The classifier that aids the generator is fitted to soft labels; the paper's sees true ones.",
    ),
)
@dataclass(frozen=True)
class FCLSWGAN(Generative):
    """A conditional Wasserstein GAN of image features."""

    head: str = hyper("generator", "how images meet labels: by imagined examples", choices=("generator",))
    hidden: int = hyper(256, "width of the generator's and the critic's inner layer", above=0)
    lr: float = hyper(5e-4, "learning rate at the start", search=(1e-5, 1e-2), above=0)
    batch: int = hyper(64, "images in a mini-batch", above=0)
    penalty: float = hyper(10.0, "weight of the critic's slope away from one", search=(1.0, 100.0))
    aid: float = hyper(0.3, "weight of the classifier in the generator's loss", search=(1e-3, 1.0))
    leak: float = hyper(0.2, "slope of the leaky ReLU below zero", fixed=True)
    last: str = hyper("linear", "what the generator ends with", choices=("linear", "relu"))

    def module(self, study: Study) -> nn.Module:
        """Both networks."""
        return Adversaries(self.latent, study.texts.shape[-1], study.features.shape[-1], self.hidden, self.leak)

    def memory(self, study: Study, params: State) -> State:
        """Also the classifier of real images that aids the generator."""
        statistics = super().memory(study, params)
        images = self.scaled(study.features, statistics)
        ridge = self.ridge * len(images) / study.targets.shape[-1]
        aid = softmax_regression(images, study.targets, ridge, self.steps)
        return {**statistics, **{f"aid_{name}": value for name, value in aid.items()}}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Also noise for each network's loss, and the place between real and generated where the slope is measured."""
        noise = (images, 2 * self.latent)
        return {**super().dice(images, classes), "critic": noise, "generator": noise, "between": (images, 1)}

    def generate(self, net: Net, memory: State, noise: Tensor, semantics: Tensor) -> Tensor:
        """(B, latent), (B, a) -> (B, d) images, scaled as real ones are."""
        images: Tensor = net(torch.cat([noise, semantics], dim=-1))
        return self.scaled(self.unscaled(images.relu() if self.last == "relu" else images, memory), memory)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy of the classifier on generated images, which `step` weighs."""
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Both losses, each constant in the other's parameters."""
        memory = batch.memory
        constant = net.using({name: value.detach() for name, value in net.state.items()})
        labels, semantics = self.labels_and_descriptions(batch)
        real = self.scaled(batch.features, memory)

        generated = self.generate(constant, memory, normal(batch.dice["critic"]), semantics)
        between = batch.dice["between"] * real + (1 - batch.dice["between"]) * generated
        penalty = self.penalty * (self.slope_lengths(net, between, semantics) - 1).square().mean()
        on_generated, on_real = (self.critic_values(net, images, semantics).mean() for images in (generated, real))
        critic = on_generated - on_real + penalty

        attempts = self.generate(net, memory, normal(batch.dice["generator"]), semantics)
        classified = Output(attempts @ memory["aid_weight"] + memory["aid_bias"])
        aid = -(labels * classified.log_probs).sum(-1).mean()
        generator = self.aid * aid - self.critic_values(constant, attempts, semantics).mean()
        return critic + generator, Update(notes={"critic": critic, "generator": generator, "penalty": penalty})

    def critic_values(self, net: Net, images: Tensor, semantics: Tensor) -> Tensor:
        """(B, d), (B, a) -> (B, 1) the critic's values."""
        values: Tensor = net(torch.cat([images, semantics], dim=-1), part="critic")
        return values

    def slope_lengths(self, net: Net, images: Tensor, semantics: Tensor) -> Tensor:
        """(B, d), (B, a) -> (B,) lengths of the critic's slope in the images."""
        slopes = net(torch.cat([images, semantics], dim=-1), part="slopes")[..., : images.shape[-1]]
        length: Tensor = slopes.square().sum(-1).clamp(min=MIN_SLOPE**2).sqrt()
        return length

    def imagined_examples(self, net: Net, memory: State, semantics: Tensor) -> Tensor:
        """(C, a) -> (C, n, d)."""
        shape = (len(semantics), self.examples, -1)
        noise, described = memory["noise"].expand(shape), semantics.unsqueeze(1).expand(shape)
        return self.generate(net, memory, noise, described)
