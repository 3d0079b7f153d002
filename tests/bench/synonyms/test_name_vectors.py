"""All names of a class through an encoder: encoded like its own, cached, and part of what identifies a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import configure
from pzsl_bench.contract.needs import OF_NAMES
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.prompts import class_texts
from pzsl_bench.planning.grid import load_grid
from pzsl_bench.planning.offers import offers
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import State, make_plan
from pzsl_bench.synonyms import name_vectors as module
from pzsl_bench.synonyms.name_vectors import name_texts
from pzsl_bench.synonyms.words import Synonyms

SOURCE = replace(find_dataset("synthetic").open(), texts=None, templates=("a photo of a {}.", "one {}"))
C, WIDTH = len(SOURCE.class_names), 6
OWN = np.full((C, WIDTH), WIDTH**-0.5, dtype=np.float32)


def vector(text: str) -> NDArray[np.float64]:
    """A vector that the text alone decides."""
    return np.array([sum((i + 1) * ord(c) ** k for i, c in enumerate(text)) % 101 for k in range(1, WIDTH + 1)]) + 1.0


@dataclass
class Reader:
    """An encoder of texts that remembers what it encoded."""

    words: str = "reader"
    encoded: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        return self.words

    def load(self, device: str, download: bool) -> Any:
        return SimpleNamespace(encode_texts=self.encode)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.encoded += texts
        return np.stack([vector(text) for text in texts])


def synonyms_of(*more: Sequence[str], prompts: Sequence[int] = ()) -> Synonyms:
    """The classes' own names, and more of some."""
    lists = [(name, *others) for name, others in zip(SOURCE.class_names, [*more, *[()] * (C - len(more))], strict=True)]
    return Synonyms(tuple(lists), tuple(c in prompts for c in range(C)), ("user",) * C)


def vectors_of(synonyms: Synonyms, cache: Path, reader: Reader | None = None, **changes: Any) -> NDArray[np.float32]:
    source = replace(SOURCE, **changes)
    return name_texts(source, "toy:odd", reader or Reader(), synonyms, OWN, cache=cache)  # type: ignore[arg-type]


def test_a_class_s_own_text_comes_first_and_zeros_fill_up(tmp_path: Path) -> None:
    rows = vectors_of(synonyms_of(["cat", "kitten"], [], ["dog"]), tmp_path)
    assert rows.shape == (C, 3, WIDTH)
    assert rows.dtype == np.float32
    assert (rows[:, 0] == OWN).all()
    there = np.abs(rows).max(-1) > 0
    assert there.sum(1).tolist() == [3, 1, 2] + [1] * (C - 3)
    np.testing.assert_allclose(np.linalg.norm(rows[there], axis=-1), 1, atol=1e-6)


def test_a_name_is_told_through_the_same_templates_as_a_class(tmp_path: Path) -> None:
    rows = vectors_of(synonyms_of(["cat_fish"]), tmp_path)
    np.testing.assert_array_equal(rows[0, 1], class_texts(Reader().encode, ["cat_fish"], SOURCE.templates)[0])


def test_whole_prompts_go_into_no_template(tmp_path: Path) -> None:
    reader = Reader()
    vectors_of(synonyms_of(["a cat that sits."], ["dog"], prompts=[0]), tmp_path, reader)
    assert reader.encoded == ["a cat that sits.", "a photo of a dog.", "one dog"]


def test_classes_with_templates_of_their_own_use_them(tmp_path: Path) -> None:
    reader = Reader()
    vectors_of(synonyms_of(["cat"]), tmp_path, reader, contexts=(("the pet {}",),) * C)
    assert reader.encoded == ["the pet cat"]


def test_names_are_encoded_once_and_other_names_or_encoders_anew(tmp_path: Path) -> None:
    first, again, other, stranger = Reader(), Reader(), Reader(), Reader("another")
    rows = vectors_of(synonyms_of(["cat"]), tmp_path, first)
    np.testing.assert_array_equal(vectors_of(synonyms_of(["cat"]), tmp_path, again), rows)
    vectors_of(synonyms_of(["dog"]), tmp_path, other)
    vectors_of(synonyms_of(["cat"]), tmp_path, stranger)
    assert first.encoded and other.encoded and stranger.encoded and not again.encoded


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    rows = vectors_of(synonyms_of(["cat"]), tmp_path)
    (file,) = tmp_path.glob("names/toy-*.npz")
    file.write_bytes(b"no array")
    with pytest.warns(UserWarning, match="are damaged; encoding again"):
        np.testing.assert_array_equal(vectors_of(synonyms_of(["cat"]), tmp_path), rows)


def test_classes_without_other_names_need_no_encoder(tmp_path: Path) -> None:
    reader = Reader()
    np.testing.assert_array_equal(vectors_of(synonyms_of(), tmp_path, reader)[:, 0], OWN)
    assert not reader.encoded


def test_many_prompts_are_encoded_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synonyms = synonyms_of(["a", "b", "c", "d", "e"], ["f", "g"])
    whole = vectors_of(synonyms, tmp_path / "whole")
    monkeypatch.setattr(module, "PROMPTS_AT_ONCE", 3)
    np.testing.assert_array_equal(vectors_of(synonyms, tmp_path / "pieces"), whole)


def planned(tmp_path: Path, dataset: str, methods: str, encoder: str = "default", data: Path | None = None) -> Any:
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"datasets: ['{dataset}']\nencoders: ['{encoder}']\nambiguities: [flip]\nrates: [0]\nmethods: {methods}\n"
    )
    return make_plan(load_grid(str(grid), []), Options(results=tmp_path / "results", data=data))


WANTING = (
    "[s3, {proden: {init_confidence: s3}}, {proden: {prototypes: ensemble}}, {proden: {prototypes: s3_center}},"
    " {eszsl: {candidates_as: s3_prior}}]"
)


def test_names_are_part_of_the_identity_of_those_who_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "synonyms"
    folder.mkdir(parents=True)
    name = find_dataset("shapes").open().class_names[0]
    before = planned(tmp_path, "shapes", WANTING[:-1] + ", proden]").cells
    (folder / "shapes.json").write_text(f'{{"{name}": ["another word for it"]}}')
    after = planned(tmp_path, "shapes", WANTING[:-1] + ", proden]", data=tmp_path / "data").cells
    changed = [old.hash != new.hash for old, new in zip(before, after, strict=True)]
    assert changed == [True] * 5 + [False]
    assert all(("synonyms" in cell.identity) == differs for cell, differs in zip(after, changed, strict=True))


def test_ready_made_texts_have_no_other_names(tmp_path: Path) -> None:
    plan = planned(tmp_path, "synthetic", WANTING)
    assert {cell.state for cell in plan.cells} == {State.BLOCKED}
    assert any("s3 needs an encoder that reads all names of a class; synthetic brings" in p for p in plan.problems)


def test_an_encoder_that_is_told_other_words_offers_no_names(tmp_path: Path) -> None:
    source = find_dataset("shapes").open()
    assert offers(source, "embedded") >= OF_NAMES
    assert not OF_NAMES & offers(source, "embedded+waffle")
    assert not OF_NAMES & offers(find_dataset("synthetic").open(), "none")


@pytest.mark.slow
def test_the_drawn_world_s_synonyms_help_rare_names(tmp_path: Path) -> None:
    """The lists of the drawn world mend what its odd names lack; half a point would be noise."""
    from pzsl_bench.encoding.prompts import unit

    source, encoder = find_dataset("shapes:odd").open(), find_encoder("embedded", cache=tmp_path)
    model = encoder.load("cpu", False)
    class_texts = encoder.class_texts(model.encode_texts, source.class_names, source.templates)
    rows = module.every_name(source, "shapes:odd", encoder, class_texts, None, tmp_path)
    common = find_dataset("shapes").open()
    usual = encoder.class_texts(model.encode_texts, common.class_names, common.templates)
    means = unit(np.stack([names[np.abs(names).max(-1) > 0].mean(0) for names in rows]))
    assert (means * usual).sum(1).mean() > (class_texts * usual).sum(1).mean() + 0.05


def test_a_setting_that_needs_names_says_so() -> None:
    with pytest.raises(UserError, match="did you mean 's3_center'"):
        configure("proden", {"prototypes": "s3_centre"})
