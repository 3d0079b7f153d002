"""Class texts from sentences, descriptors and nonsense words: set by a suffix, part of a result's identity."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.wording import DCLIP, CuPL, Waffle, clause, nonsense, split_wording

NAMES = ["red_panda", "Grey Wolf"]
TEMPLATES = ["a photo of a {}.", "art of a {}."]


def embeddings(prompts: list[str]) -> NDArray[np.float64]:
    """A vector for each text, of a length that is not one."""
    rows = [np.random.default_rng(list(prompt.encode())).normal(size=5) for prompt in prompts]
    return 3 * np.array(rows)


def directions(*prompts: str) -> NDArray[np.float64]:
    rows = embeddings(list(prompts))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def written(folder: Path, content: object, name: str = "texts.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_sentences_give_the_normalised_mean_of_unit_vectors(tmp_path: Path) -> None:
    file = written(tmp_path, {"red panda": ["It is red.", "It climbs."], "grey-wolf": [" It howls. "]})
    texts = CuPL(file).class_texts(embeddings, NAMES, TEMPLATES)
    mean = directions("It is red.", "It climbs.").mean(0)
    np.testing.assert_allclose(texts[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(texts[1], directions("It howls.")[0], atol=1e-6)
    assert texts.dtype == np.float32


def test_scores_by_descriptors_are_mean_cosines(tmp_path: Path) -> None:
    file = written(tmp_path, {"red panda": ["a striped tail", "white ears"], "grey wolf": []})
    texts = DCLIP(file).class_texts(embeddings, NAMES, TEMPLATES)
    image = directions("an image")[0]
    prompts = directions("red panda, which is a striped tail", "red panda, which has white ears")
    np.testing.assert_allclose(image @ texts[0], (prompts @ image).mean(), atol=1e-6)
    assert np.linalg.norm(texts[0]) < 0.99
    # Without descriptors the name in the templates is left.
    prompts = directions("a photo of a Grey Wolf.", "art of a Grey Wolf.")
    np.testing.assert_allclose(texts[1], prompts.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("descriptor", "sentence"),
    [
        ("a long tail", "which is a long tail"),
        ("asymmetric wings", "which has asymmetric wings"),
        ("often has stripes", "which often has stripes"),
        ("has fur", "which has fur"),
        ("used for fishing", "which is used for fishing"),
    ],
)
def test_descriptors_become_clauses(descriptor: str, sentence: str) -> None:
    assert clause(descriptor) == sentence


def test_nonsense_is_the_same_for_every_class_and_every_time() -> None:
    words = nonsense(30)
    assert words == nonsense(30) and len(set(words)) == 30
    assert {len(word) for word in words} == set(range(4, 11))
    first, second = (Waffle().prompts(name, TEMPLATES) for name in NAMES)
    assert first[0] == f"a photo of a red panda, which has {words[0]}."
    assert second == [prompt.replace("red panda", "Grey Wolf") for prompt in first]


def test_a_class_without_texts_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = written(tmp_path, {"red panda": ["It is red."], "grey wolf": []})
    with pytest.raises(UserError, match="no texts for class 'Tiger'"):
        CuPL(file).class_texts(embeddings, ["Tiger"], TEMPLATES)
    with pytest.raises(UserError, match="'Grey Wolf' needs at least one sentence"):
        CuPL(file).class_texts(embeddings, NAMES, TEMPLATES)


@pytest.mark.parametrize("content", [["a"], {"cat": "a"}, {"cat": [1]}, {"cat": [" "]}])
def test_a_file_of_another_form_is_an_error(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"texts\.json: .*list of texts"):
        find_encoder(f"embedded+cupl={written(tmp_path, content)}").fingerprint()


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="there is no file"):
        find_encoder(f"embedded+dclip={tmp_path}/none.json").fingerprint()


def test_words_need_an_encoder() -> None:
    with pytest.raises(UserError, match="without an encoder"):
        find_encoder("none+waffle")


@pytest.mark.parametrize(
    ("spec", "base"),
    [
        ("ViT-B-32:openai", "ViT-B-32:openai"),
        ("ViT-B-32:a+b.pt", "ViT-B-32:a+b.pt"),
        ("ViT-B-32:a+b.pt+waffle", "ViT-B-32:a+b.pt"),
        ("embedded+cupl=a=b+c.json", "embedded"),
    ],
)
def test_what_stands_before_the_words_is_the_encoder(spec: str, base: str) -> None:
    name, wording = split_wording(spec)
    assert name == base
    assert (wording is None) == (spec == base)


def test_words_change_the_texts_and_the_identity_but_not_the_images(tmp_path: Path) -> None:
    whole = find_dataset("shapes").open()
    assert whole.images is not None
    few = [whole.images[i] for i in range(5)]
    source = replace(whole, images=few, labels=whole.labels[:5], is_test=whole.is_test[:5])
    sentences = {name: [f"a drawing of a {name}"] for name in source.class_names}
    specs = ["embedded", "embedded+waffle", f"embedded+cupl={written(tmp_path, sentences)}"]
    encoders = [find_encoder(spec, tmp_path) for spec in specs]
    assert len({encoder.fingerprint() for encoder in encoders}) == 3
    assert len({encoder.of_images.fingerprint() for encoder in encoders}) == 1
    encoded = [encode(source, "shapes", encoder, cache=tmp_path) for encoder in encoders]
    assert len({m.key for m in encoded}) == 3
    for other in encoded[1:]:
        assert np.array_equal(other.features, encoded[0].features)
        assert np.abs(other.texts - encoded[0].texts).max() > 1e-3
    moved = written(tmp_path, sentences, "moved.json")
    assert find_encoder(f"embedded+cupl={moved}", tmp_path).fingerprint() == encoders[2].fingerprint()
    assert find_encoder(f"embedded+dclip={moved}", tmp_path).fingerprint() != encoders[2].fingerprint()


def test_real_descriptor_files_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "synonyms").glob("descriptors_*.json"))
    assert files
    for file in files:
        names = list(json.loads(file.read_text()))
        texts = DCLIP(file).class_texts(embeddings, names, TEMPLATES)
        assert texts.shape == (len(names), 5)
        assert np.isfinite(texts).all()
