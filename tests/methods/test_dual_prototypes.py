"""Dual prototypes start at the encoder's ranking of an image's tags, and unseen tags get both texts as well."""

from __future__ import annotations

import torch
from tag_studies import TAGS, drawn_tags, images_of, tag_studies, tag_texts

from pzsl_bench.contract import Gradient, Net, configure
from pzsl_bench.training.fit import initialise

TEXTS = tag_texts()
TRUTH = drawn_tags(40, len(TEXTS))
IMAGES = images_of(TRUTH, TEXTS)


def test_before_training_every_image_ranks_its_tags_as_zero_shot_does() -> None:
    method = configure("dual_prototypes", {})
    assert isinstance(method, Gradient)
    studies = tag_studies(TRUTH[:, :TAGS].int() * 2 - 1, IMAGES, TEXTS[:TAGS])
    module, params, memory = initialise(method, studies, studies.uniform)
    net = Net(module, {k: v[0] for k, v in params.items()}, TEXTS)
    scores = method.score(net, memory, IMAGES)
    assert torch.equal(scores.argsort(-1), (IMAGES @ TEXTS.T).argsort(-1))
