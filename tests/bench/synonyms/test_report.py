"""What `synonyms check` says of a class: its space, the names that fall out, words shared, repeated and too long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pzsl_bench.data.source import Source
from pzsl_bench.data.word_lists import Entry
from pzsl_bench.encoding.encode import class_texts_of
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.synonyms.report import as_table, errors, notes, prompts_of, report, spaces_of, too_long
from pzsl_bench.synonyms.space import Compactness
from pzsl_bench.synonyms.words import Found, Synonyms, without_clashes

NAMES = ("red_panda", "grey wolf")


def found_of(*words: list[str], as_prompt: bool = False, source: str = "user") -> Found:
    entries = tuple(Entry(name, tuple(w), as_prompt=as_prompt) for name, w in zip(NAMES, words, strict=True))
    names, clashes = without_clashes(NAMES, entries, [source] * 2)
    synonyms = Synonyms(tuple(names), (as_prompt,) * 2, (source,) * 2)
    return Found(synonyms, entries, tuple(clashes), ())


def source(**more: Any) -> Source:
    return Source(
        labels=np.array([0, 1]),
        is_test=np.array([False, True]),
        class_names=NAMES,
        seen=(0,),
        unseen=(1,),
        validation=(),
        checksum="x",
        templates=("a {}", "the {}"),
        features=np.eye(2, dtype=np.float32),
        **more,
    )


class Letters:
    """A model that reads eight letters, with marks before and after them."""

    class tokenizer:  # noqa: N801
        context_length = 10

        def __new__(cls, texts: list[str], context_length: int) -> Any:
            rows = np.zeros((len(texts), context_length), dtype=np.int64)
            for row, text in zip(rows, texts, strict=True):
                tokens = [1, *map(ord, text), 2][:context_length]
                row[: len(tokens)] = tokens
            return rows


def fan(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_the_space_says_what_it_keeps() -> None:
    words = found_of(["lesser panda", "firefox", "Ailurus"], [])
    names = np.zeros((2, 4, 2), dtype=np.float32)
    names[0], names[1, 0] = fan(0, 10, 80, 20), fan(5)[0]
    panda, wolf = report(words, source(), None, names, Compactness(rho=0.75))
    assert panda.removed == ("firefox",)
    assert panda.space is not None and wolf.space is not None
    assert panda.space.eps == pytest.approx(2 * np.sin(np.radians(5)), abs=1e-6)
    assert panda.space.share == 0.75
    assert wolf.space.share == 1.0 and wolf.removed == ()
    lines = as_table([panda, wolf]).splitlines()
    assert lines[2].split() == ["red_panda", "4", "user", "0.174", "75", "%", "firefox"]


def test_a_name_with_the_vector_of_another_is_not_called_removed() -> None:
    [space] = spaces_of(fan(0, 0, 10)[None], [3], Compactness(rho=1.0))
    assert space.twins.tolist() == [False, True, False]
    assert space.share == 1.0
    words = found_of(["red-panda!", "x"], [])
    one = report(words, source(), None, np.stack([fan(0, 0), fan(0, 0)]))[0]
    assert one.removed == () and "very vector" in " ".join(notes([one]))


def test_the_quantile_of_all_is_that_of_the_seen_classes() -> None:
    names = np.stack([fan(0, 10, 30), fan(0, 50, 90)])
    how = Compactness("quantile", quantile=1.0)
    seen, unseen = spaces_of(names, [3, 3], how, seen=[0])
    assert seen.eps == unseen.eps == pytest.approx(2 * np.sin(np.radians(10)), abs=1e-6)
    assert spaces_of(names, [3, 3], how)[0].eps > seen.eps


def test_without_vectors_the_table_has_no_spaces() -> None:
    table = as_table(report(found_of(["lesser panda"], []), source()))
    assert table.splitlines()[0].split() == ["class", "names", "from"]


def test_a_shared_word_is_one_note() -> None:
    classes = report(found_of(["panda"], ["the panda"]), source())
    assert notes(classes) == ["'panda' stands for grey wolf and for red_panda, so it is a synonym of neither"]


def test_repetitions_are_noted_where_the_user_can_mend_them() -> None:
    words = (["Red Panda", "firefox", "a firefox"], [])
    lines = notes(report(found_of(*words), source()))
    assert lines == [f"red_panda: '{text}' says the same as an earlier name" for text in ("Red Panda", "a firefox")]
    assert notes(report(found_of(*words, source="wordnet"), source())) == []


def test_classes_by_their_name_alone_are_counted() -> None:
    assert notes(report(found_of([], [], source="name"), source())) == [
        "2 of 2 classes have no list and go by their name alone"
    ]


def test_prompts_longer_than_the_encoder_reads_are_errors() -> None:
    model: Any = Letters()
    assert too_long(model, ["12345678", "123456789", "1234567890" * 100]) == {"123456789", "1234567890" * 100}
    classes = report(found_of(["fox"], ["wolf"]), source(), model)
    assert errors(classes) == [
        "red_panda: the end of 'a red panda' is not read; it is too long",
        "red_panda: the end of 'the red panda' is not read; it is too long",
        "grey wolf: the end of 'a grey wolf' is not read; it is too long",
        "grey wolf: the end of 'the grey wolf' is not read; it is too long",
    ]


def test_the_embedded_encoder_reads_fourteen_words_of_its_own(tmp_path: Path) -> None:
    model = find_encoder("embedded", tmp_path).load()
    fits = " ".join(["circle"] * (model.tokenizer.context_length - 2))
    assert too_long(model, [fits, f"{fits} circle"]) == {f"{fits} circle"}


def test_whole_prompts_go_into_no_template() -> None:
    assert prompts_of(found_of(["It is red."], [], as_prompt=True), source(), 0) == [
        "a red panda",
        "the red panda",
        "It is red.",
    ]
    assert prompts_of(found_of(["firefox"], []), source(), 0)[2:] == ["a firefox", "the firefox"]
    with_contexts = source(contexts=(("my {}",), ("your {}",)))
    assert prompts_of(found_of(["firefox"], []), with_contexts, 0) == ["my red panda", "my firefox"]


def test_class_texts_follow_a_class_s_own_templates(tmp_path: Path) -> None:
    encoder = find_encoder("embedded", tmp_path)
    model = encoder.load()
    texts = class_texts_of(source(contexts=(("red {}",), ("blue {}",))), encoder, model)
    expected = model.encode_texts(["red red panda", "blue grey wolf"])
    np.testing.assert_allclose(texts, expected, atol=1e-6)
