"""The encoder that ships with the drawn world, through open_clip itself."""

import numpy as np
import pytest
import torch

from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets.shapes.lexicon import vocabulary
from pzsl_bench.encoding import torchvision_shim
from pzsl_bench.encoding.encoder import EMBEDDED


@pytest.fixture(scope="module")
def loaded():
    torchvision_shim.declare_missing_operators()
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{EMBEDDED}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{EMBEDDED}", bpe_path=str(EMBEDDED / "bpe.txt.gz"))
    return model.eval(), preprocess, tokenize


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def test_every_word_is_one_token_and_prompts_fit(loaded):
    model, _, tokenize = loaded
    pieces = {w: tokenize.encode(w) for w in vocabulary()}
    assert all(len(p) == 1 for p in pieces.values())
    assert len({p[0] for p in pieces.values()}) == len(vocabulary())
    source = find_dataset("shapes:odd").open()
    tokens = tokenize([t.format(n) for t in source.templates for n in source.class_names])
    end = tokenize.eot_token_id
    assert (tokens == end).sum(1).eq(1).all()
    # open_clip reads the text at the largest token, which must be the end mark.
    assert tokens.max() == end == model.vocab_size - 1


@torch.no_grad()
def test_features_are_finite_and_far_from_equal(loaded):
    model, preprocess, tokenize = loaded
    source = find_dataset("shapes").open()
    images = torch.stack([preprocess(source.images[i]) for i in range(0, 4000, 100)])
    for features in (model.encode_image(images), model.encode_text(tokenize(list(source.class_names)))):
        rows = unit(features)
        assert rows.shape[1] == 64
        assert rows.isfinite().all()
        assert (rows @ rows.T).mean() < 0.9


@torch.no_grad()
@pytest.mark.parametrize("spec", ["shapes", "shapes:split1", "shapes:split2", "shapes:odd"])
def test_classes_never_met_are_recognised_far_above_chance(loaded, spec):
    model, preprocess, tokenize = loaded
    source = find_dataset(spec).open()
    chosen = np.flatnonzero(source.is_test & np.isin(source.labels, source.unseen))[::5]
    images = torch.stack([preprocess(image) for image in source.images.many(chosen)])
    texts = unit(model.encode_text(tokenize([f"a {source.class_names[c]}" for c in source.unseen])))
    guesses = np.array(source.unseen)[(unit(model.encode_image(images)) @ texts.T).argmax(1).numpy()]
    assert len(chosen) == 400
    assert (guesses == source.labels[chosen]).mean() > 0.3
