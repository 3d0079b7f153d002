"""How classes without training images get their label embedding, and what is scored with it.

The mining block gives a seen class what its training images have in common; an unseen class has none. With t the
class texts, c the stored embeddings of the seen classes and E the block's readout:

    bypass         unit(t_u)                                                 seen and unseen live in different spaces
    shared_map     E(t_u)                                                    the readout without visual evidence
    transfer       E(t_u + sum_s softmax_s(kappa t_u . t_s) (c_s - t_s))     it moves as its neighbours by name did
    seen_memory    E(t_u + block of softmax_s(sharp t_u . c_s) c_s)          attention over the stored seen classes
    single_image   the block runs on the test image itself, all classes as clusters
    batch, full    the block runs on consecutive test images, or on all of them: transductive

The first five look at one test image at a time. In the last two, what one image is taken for depends on the others,
though on nobody's label. They concern questions in which unseen classes take part; seen classes among themselves are
always scored by their stored embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.contract import normalise
from pzsl_bench.methods.clip_pzsl.mining import SemanticMining, assign, common, hard

TRANSDUCTIVE = ("batch", "full")
ROUTES = ("bypass", "shared_map", "transfer", "seen_memory", "single_image", *TRANSDUCTIVE)


def unseen_centres(
    route: str,
    block: SemanticMining,
    known: Tensor,
    new: Tensor,
    centres: Tensor,
    scale: Tensor | float,
    sharp: Tensor | float,
) -> Tensor:
    """(U, d) what stands for unseen classes; `scale` is that of `transfer`, `sharp` that of the assignment."""
    if route == "transfer":
        near = (scale * new @ known.T).softmax(-1)
        return new + near @ (centres - known)
    if route == "seen_memory":
        near = (normalise(new) @ normalise(centres).T * sharp).softmax(-1)
        evidence: Tensor = block.out(near @ normalise(centres))
        return new + evidence
    return new


def score_alone(block: SemanticMining, x: Tensor, base: Tensor, centres: Tensor, sharp: Tensor | float) -> Tensor:
    """(M, C) the block runs on one test image at a time; its nearest class moves towards it before it is scored."""
    nearest = hard(block.scores(x, centres, sharp))
    moved = block.read(nearest @ base + block.out(block.values(x)))
    return torch.where(nearest > 0, (x * moved).sum(-1, keepdim=True), x @ block.read(centres).T)


def score_together(
    block: SemanticMining,
    x: Tensor,
    base: Tensor,
    centres: Tensor,
    sharp: Tensor | float,
    eta: Tensor | float,
    kind: str,
    size: int,
) -> Tensor:
    """(M, C) the block runs on every `size` test images; a class that none of them is nearest to stays as it is.

    Noise belongs to training: here every rule that throws dice is the plain argmax.
    """
    rule = "argmax_sg" if "gumbel" in kind else kind
    scores = []
    for images in torch.split(x, size):
        given = block.scores(images, centres, sharp)
        evidence, count = common(assign(rule, given, given.softmax(-1)), block.values(images), eta)
        scores.append(images @ block.read(block.moved(base, centres, evidence, count > 0)).T)
    return torch.cat(scores)
