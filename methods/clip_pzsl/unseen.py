"""How classes without training images get their label embeddings, and how they are scored.

The mining block moves a seen class by its pooled training images; an unseen class has none. With t the
class texts, c the stored embeddings of the seen classes and E the block's readout:

    bypass         unit(t_u)                                                 seen and unseen live in different spaces
    shared_map     E(t_u)                                                    the readout without visual evidence
    transfer       E(t_u + sum_s softmax_s(kappa t_u . t_s) (c_s - t_s))     it moves as its neighbours by name did
    seen_memory    E(t_u + block of softmax_s(sharp t_u . c_s) c_s)          attention over the stored seen classes
    single_image   the block runs on the test image itself, all classes as clusters
    batch, full    the block runs on consecutive test images, or on all of them: transductive

The first five look at one test image at a time. In the last two the scores of an image depend on the other images, but
on no label. All of this holds for questions in which unseen classes take part. Where only seen classes are scored,
their stored embeddings are used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.contract import normalise
from pzsl_bench.methods.clip_pzsl.mining import SemanticMining, assign, hard, pool

TRANSDUCTIVE = ("batch", "full")
ROUTES = ("bypass", "shared_map", "transfer", "seen_memory", "single_image", *TRANSDUCTIVE)


def unseen_centres(
    route: str,
    block: SemanticMining,
    seen_texts: Tensor,
    new_texts: Tensor,
    centres: Tensor,
    scale: Tensor | float,
    assignment_scale: Tensor | float,
) -> Tensor:
    """(U, d) centres of the unseen classes, before the readout; `scale` is that of the neighbours in `transfer`."""
    if route == "transfer":
        neighbours = (scale * new_texts @ seen_texts.T).softmax(-1)
        return new_texts + neighbours @ (centres - seen_texts)
    if route == "seen_memory":
        neighbours = (normalise(new_texts) @ normalise(centres).T * assignment_scale).softmax(-1)
        evidence: Tensor = block.out(neighbours @ normalise(centres))
        return new_texts + evidence
    return new_texts


def score_alone(
    block: SemanticMining, x: Tensor, base: Tensor, centres: Tensor, assignment_scale: Tensor | float
) -> Tensor:
    """(M, C) the block runs on one test image at a time: its nearest class moves towards it, then it is scored."""
    nearest = hard(block.scores(x, centres, assignment_scale))
    moved = block.read(nearest @ base + block.out(block.values(x)))
    return torch.where(nearest > 0, (x * moved).sum(-1, keepdim=True), x @ block.read(centres).T)


def score_together(
    block: SemanticMining,
    x: Tensor,
    base: Tensor,
    centres: Tensor,
    assignment_scale: Tensor | float,
    eta: Tensor | float,
    kind: str,
    size: int,
) -> Tensor:
    """(M, C) the block runs on `size` test images at a time; a class that none of them is nearest to stays as it is.

    Noise belongs to training: rules with noise use the plain argmax here.
    """
    rule = "argmax_sg" if "gumbel" in kind else kind
    scores = []
    for images in torch.split(x, size):
        assignment_scores = block.scores(images, centres, assignment_scale)
        evidence, count = pool(
            assign(rule, assignment_scores, assignment_scores.softmax(-1)), block.values(images), eta
        )
        scores.append(images @ block.read(block.moved(base, centres, evidence, count > 0)).T)
    return torch.cat(scores)
