"""What the encoder of the drawn world learnt from, replayed in full."""

import gzip
import json
from collections import Counter
from functools import cache
from itertools import product

import numpy as np
import pytest

from pzsl_bench.datasets.shapes import captions, stream
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS, KINDS, class_name, number, vocabulary
from pzsl_bench.datasets.shapes.pretrain import STEPS, config, learning_rate, pretrain
from pzsl_bench.datasets.shapes.splits import describe, held_out
from pzsl_bench.datasets.shapes.tokenizer import build_merges, merges_file, vocabulary_size
from pzsl_bench.encoding.encoder import EMBEDDED

# Written here from the word lists alone, so that the test shares no code with the filter it checks.
MEANINGS = [
    {w: {i for i, words in enumerate(kind.values()) if w in dict(words)} for w in vocabulary()} for kind in KINDS
]


def phrases_of(caption: str) -> list[str]:
    return [caption] if " that is " in caption else caption.split(" and ")


@cache
def readings(phrase: str) -> frozenset[int]:
    """Every combination the words of a phrase may name; empty when an attribute is not told."""
    meanings = [[MEANINGS[kind][w] for w in phrase.split() if MEANINGS[kind][w]] for kind in range(3)]
    assert all(len(words) <= 1 for words in meanings), phrase
    return frozenset(number(*v) for v in product(*(words[0] if words else () for words in meanings)))


@pytest.fixture(scope="module")
def replay() -> list[stream.Items]:
    return [stream.items(step) for step in range(STEPS)]


def test_no_held_out_combination_was_ever_drawn(replay):
    drawn = np.concatenate([items.combinations.ravel() for items in replay])
    assert len(drawn[drawn >= 0]) > 200_000
    assert set(drawn.tolist()) == {-1, *set(range(COMBINATIONS)) - held_out()}


def test_no_held_out_combination_was_ever_written(replay):
    phrases = Counter(p for items in replay for caption in items.captions for p in phrases_of(caption))
    assert sum(phrases.values()) > 200_000
    written = set().union(*(readings(p) for p in phrases))
    assert len(written) > 500
    assert written.isdisjoint(held_out())
    names = {class_name(c, naming) for c in held_out() for naming in ("common", "odd")}
    assert not any(f" {name} " in f" {phrase} " for phrase in phrases for name in names)


def test_captions_mostly_tell_the_truth_in_words_the_tokenizer_knows(replay):
    singles = [
        (c, caption)
        for items in replay[:100]
        for (c, second, _), caption in zip(items.combinations.tolist(), items.captions, strict=True)
        if second < 0
    ]
    assert {w for _, caption in singles for w in caption.split()} == set(vocabulary())
    full = [(c, readings(caption)) for c, caption in singles if readings(caption)]
    assert 0.6 < len(full) / len(singles) < 0.7
    assert 0.8 < np.mean([c in read for c, read in full]) < 0.9


def test_scenes_hold_two_or_three_objects_of_which_two_are_told(replay):
    sizes = Counter(int(n) for items in replay for n in (items.combinations >= 0).sum(1))
    scenes = sizes[2] + sizes[3]
    assert scenes / sizes.total() == pytest.approx(24 / 124, abs=0.005)
    assert sizes[3] / scenes == pytest.approx(0.4, abs=0.01)
    for items in replay[:50]:
        for row, caption in zip(items.combinations, items.captions, strict=True):
            assert len(phrases_of(caption)) == min(2, (row >= 0).sum())


def test_a_step_is_a_pure_function_of_its_number():
    once = stream.items(7)
    stream.items(3)
    again = stream.items(7)
    assert once.captions == again.captions
    assert (once.images() == again.images()).all()
    assert once.captions != stream.items(8).captions


def test_without_the_filter_held_out_classes_would_be_written():
    ids = np.arange(20_000)
    combinations = stream.allowed()[ids % len(stream.allowed())]
    lax = captions.phrases(1, ids, combinations, np.zeros_like(captions.forbidden(())), ids < 0)
    strict = captions.phrases(1, ids, combinations, captions.forbidden(held_out()), ids < 0)
    leaks = [i for i, phrase in enumerate(lax) if readings(phrase) & held_out()]
    assert len(leaks) > 100
    # Only the refused phrases are drawn anew.
    assert [i for i in ids.tolist() if lax[i] != strict[i]] == leaks


def test_a_word_of_two_concepts_is_refused_for_either():
    red, pink = (next(c for c in range(COMBINATIONS) if describe(c) == f"dotted {x} star") for x in ("red", "pink"))
    t, c, s = (captions.WORDS[kind].index(w) for kind, w in enumerate(("dotted", "rose", "star")))
    assert captions.forbidden([red])[t, c, s]
    assert captions.forbidden([pink])[t, c, s]
    assert not captions.forbidden([red])[t, captions.WORDS[1].index("salmon"), s]


def test_the_shipped_merges_are_what_the_builder_builds():
    assert gzip.decompress((EMBEDDED / "bpe.txt.gz").read_bytes()) == gzip.decompress(merges_file())


def test_merges_make_every_word_one_piece():
    assert build_merges(["ab", "abc"]) == [("a", "b"), ("a", "b</w>"), ("ab", "c</w>")]
    assert len(set(build_merges(vocabulary()))) == vocabulary_size() - 514


def test_the_shipped_configuration_is_the_one_of_the_script():
    assert json.loads((EMBEDDED / "open_clip_config.json").read_text()) == config()


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth():
    rates = [learning_rate(step, STEPS) for step in range(STEPS)]
    assert rates.index(max(rates)) == 99
    assert rates[99] == pytest.approx(2e-3)
    assert rates[-1] == pytest.approx(4e-5, rel=0.01)


def test_one_step_of_the_script_writes_an_encoder_and_threads_stay_as_they_were(tmp_path):
    import torch
    from safetensors.torch import load_file

    threads = torch.get_num_threads()
    loss = pretrain(tmp_path, steps=1, batch=8)
    assert 0 < loss < 20
    assert torch.get_num_threads() == threads
    written = load_file(tmp_path / "open_clip_model.safetensors")
    shipped = load_file(EMBEDDED / "open_clip_model.safetensors")
    assert {k: (v.shape, v.dtype) for k, v in written.items()} == {k: (v.shape, v.dtype) for k, v in shipped.items()}
    assert (tmp_path / "bpe.txt.gz").read_bytes() == merges_file()
