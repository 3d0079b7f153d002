"""Study and exam: who sees what, and the rehearsal played with seen classes only."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Study
from pzsl_bench.data.source import Source
from pzsl_bench.planning.offers import offers
from pzsl_bench.problem.build import build_problem, shared_tensor
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.toy import toy_problem, toy_studies, toy_tags


def small_source() -> Source:
    labels = np.repeat(np.arange(6), 4)
    return Source(
        labels=labels,
        is_test=np.tile([False, False, True, True], 6),
        class_names=tuple("abcdef"),
        seen=(5, 1, 3, 0),
        unseen=(2, 4),
        validation=(3,),
        checksum="x",
        features=np.eye(24, 8, dtype=np.float32) + 0.1,
        texts=np.eye(6, 8, dtype=np.float32),
    )


def build(unreadable: tuple[int, ...] = ()) -> Problem:
    source = small_source()
    assert source.features is not None
    assert source.texts is not None
    return build_problem("small", source, source.features, source.texts, 10.0, unreadable)


def test_classes_are_numbered_seen_first_and_unseen_training_images_are_dropped() -> None:
    problem = build()
    assert problem.class_names == ("f", "b", "d", "a", "c", "e")
    assert sorted(problem.train_truth.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(set(problem.test_truth.tolist())) == [0, 1, 2, 3, 4, 5]
    assert problem.validation == (2,)


def test_unreadable_images_leave_both_sides() -> None:
    whole, part = build(), build(unreadable=(0, 2))
    assert len(part.train) == len(whole.train) - 1
    assert len(part.test) == len(whole.test) - 1
    assert part.unreadable == 2


def test_a_dataset_without_readable_images_is_an_error_in_words() -> None:
    with pytest.raises(UserError, match="no readable training image"):
        build(unreadable=tuple(range(24)))


def test_a_study_holds_no_truth_no_test_image_and_no_unseen_name() -> None:
    problem = toy_problem()
    studies = toy_studies(problem, [("flip", 0.5, 0)])
    assert {f.name for f in fields(Study)} == {
        "features",
        "candidates",
        "targets",
        "texts",
        "class_names",
        "scale",
        "views",
        "tower",
        "marks",
        "synonyms",
        "tokens",
        "aligned",
    }
    study = studies.of(0)
    assert study.synonyms is not None and study.tokens is not None
    assert len(study.texts) == len(study.class_names) == problem.seen
    assert len(study.synonyms) == len(study.tokens) == problem.seen
    assert not set(study.class_names) & set(problem.class_names[problem.seen :])
    assert torch.equal(study.features, problem.train)
    assert study.candidates.sum() > len(problem.train)


def tagged_source(**changes: Any) -> Source:
    """Eight images, of which numbers 1 and 5 have no seen tag; tag 2 is unseen, tag 4 is neither seen nor unseen."""
    tags = np.full((8, 5), -1, dtype=np.int8)
    tags[np.arange(8), [0, 2, 1, 3, 0, 4, 1, 3]] = 1
    tags[0, 2], tags[2, 3] = 1, 0
    facts: dict[str, Any] = {
        "labels": None,
        "tags": tags,
        "is_test": np.arange(8) >= 6,
        "class_names": tuple("abcde"),
        "seen": (3, 0, 1),
        "unseen": (2,),
        "validation": (),
        "checksum": "x",
        "features": np.eye(8, dtype=np.float32),
        "texts": np.eye(5, 8, dtype=np.float32),
        "top": (2,),
    }
    return Source(**facts | changes)


def test_a_study_of_tags_has_seen_columns_only_and_the_exam_all() -> None:
    source = tagged_source()
    assert source.task == "tags" and source.features is not None and source.texts is not None
    problem = build_problem("small", source, source.features, source.texts, 10.0)
    # Images 0, 2, 3 and 4: training images with a seen tag; columns d, a, b.
    assert problem.train.argmax(1).tolist() == source.training.tolist() == [0, 2, 3, 4]
    assert problem.train_tags is not None and problem.test_tags is not None
    assert problem.train_tags.tolist() == [[-1, 1, -1], [0, -1, 1], [1, -1, -1], [-1, 1, -1]]
    assert problem.test_tags.tolist() == [[-1, -1, 1, -1], [1, -1, -1, -1]]
    studies = toy_studies(problem, [("rps", 0.0, 0), ("rps", 1.0, 0)])
    assert studies.class_names == ("d", "a", "b")
    study = studies.of(0)
    assert study.marks is not None and study.marks.dtype == torch.int8
    assert study.marks.tolist() == problem.train_tags.tolist()
    assert torch.equal(study.candidates, study.marks >= 0)
    assert torch.equal(study.targets, (study.marks > 0).float())
    empty = studies.of(1)
    assert empty.candidates.all() and not empty.targets.any()
    assert problem.exam().top == (2,)
    assert not problem.can_rehearse


def test_unreadable_images_with_tags_leave_both_sides() -> None:
    source = tagged_source()
    assert source.features is not None and source.texts is not None
    problem = build_problem("small", source, source.features, source.texts, 10.0, [0, 7])
    assert problem.train.argmax(1).tolist() == [2, 3, 4]
    assert problem.test.argmax(1).tolist() == [6]
    assert problem.train_tags is not None and len(problem.train_tags) == 3


def test_studies_of_some_runs_and_images_keep_their_marks() -> None:
    studies = toy_studies(toy_tags(), [("rps", 0.5, seed) for seed in range(3)])
    assert studies.marks is not None
    part = studies.of_runs(torch.tensor([2, 0])).of_images(torch.tensor([5, 7]))
    assert part.marks is not None
    assert torch.equal(part.marks, studies.marks[[2, 0]][:, [5, 7]])
    assert torch.equal(part.candidates, part.marks >= 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(8, dtype=np.int64)}, "either the class of every image or its tags"),
        ({"tags": None}, "either the class of every image or its tags"),
        ({"tags": np.ones((8, 4), dtype=np.int8)}, "a column for each class"),
        ({"tags": np.ones((8, 5), dtype=np.int64)}, "int8, not int64"),
        ({"tags": np.full((8, 5), 2, dtype=np.int8)}, "but these hold 2"),
        ({"top": (0,)}, "numbers of tags from 1 on"),
        ({"ordinal": True}, "go with one class an image"),
    ],
)
def test_a_source_refuses_what_are_no_tags(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tagged_source(**changes)


def test_the_rehearsal_uses_training_images_of_seen_classes_only() -> None:
    problem = toy_problem()
    small, rows, classes = problem.rehearsal()
    assert set(small.class_names) == set(problem.class_names[: problem.seen])
    assert small.class_names[small.seen :] == tuple(problem.class_names[k] for k in problem.validation)
    assert len(small.train) + len(small.test) == len(problem.train)
    assert torch.equal(small.train, problem.train[torch.from_numpy(rows)])
    np.testing.assert_array_equal(classes[small.train_truth], problem.train_truth[rows])
    assert set(classes) == set(range(problem.seen)) - set(problem.validation)
    assert all((small.test_truth == k).any() for k in range(problem.seen))


@pytest.mark.parametrize(("seen", "each"), [(8, 2), (9, 3), (40, 13), (5, 4), (2, 1)])
def test_folds_hold_out_other_classes_until_all_have_been_held_out(seen: int, each: int) -> None:
    validation = tuple(range(seen - each, seen))
    problem = replace(toy_problem(seen=seen), validation=validation)
    acting = [problem.acting(fold) for fold in range(4)]
    assert acting[0] == validation
    assert all(len(set(classes)) == each and set(classes) < set(range(seen)) for classes in acting)
    whole = seen // each
    assert len({k for classes in acting[:whole] for k in classes}) == each * min(4, whole)
    small, rows, classes = problem.rehearsal(1)
    assert small.class_names[small.seen :] == tuple(problem.class_names[k] for k in acting[1])
    assert not set(problem.train_truth[rows]) & set(acting[1])
    assert set(classes) == set(range(seen)) - set(acting[1])


def test_the_folds_of_a_dataset_are_its_own_and_always_the_same() -> None:
    first, again, other = (replace(toy_problem(seen=40), name=name).acting(1) for name in ("a", "a", "b"))
    assert first == again != other


def test_a_source_refuses_classes_that_are_both_seen_and_unseen() -> None:
    source = small_source()
    with pytest.raises(ValueError, match="both seen and unseen"):
        Source(**{**source.__dict__, "unseen": (2, 5)})
    with pytest.raises(ValueError, match="validation"):
        Source(**{**source.__dict__, "validation": (2,)})
    with pytest.raises(ValueError, match="ready views"):
        Source(**{**source.__dict__, "views": lambda: None, "standardise": True})


def test_the_training_images_of_a_source_are_those_of_the_problem() -> None:
    source, problem = small_source(), build()
    assert source.features is not None
    np.testing.assert_array_equal(source.features[source.training], problem.train.numpy())


def test_only_a_dataset_with_images_or_ready_views_and_one_split_offers_views() -> None:
    source = small_source()
    assert "views" not in offers(source, "none")
    assert "views" in offers(replace(source, views=lambda: np.ones((1, 1, 1), np.float32)), "none")
    images = replace(source, features=None, images=[])
    assert "views" in offers(images, "embedded")
    assert "views" not in offers(replace(images, split=lambda seed: source.is_test), "embedded")


def test_only_texts_as_encoded_and_as_wide_as_images_are_aligned_with_them() -> None:
    source = small_source()
    assert source.features is not None
    width = source.features.shape[1]
    aligned = replace(source, texts=np.ones((6, width), np.float32))
    assert "alignment" in offers(aligned, "none")
    assert "alignment" not in offers(replace(aligned, texts=np.ones((6, width + 1), np.float32)), "none")
    assert "alignment" not in offers(replace(aligned, standardise=True), "none")
    assert "alignment" not in offers(replace(aligned, aligned=False), "none")
    assert "alignment" not in offers(replace(source, texts=None), "none")
    assert "alignment" in offers(replace(source, texts=None), "ViT-B-32")


def test_a_shared_tensor_is_the_array_itself() -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = shared_tensor(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert torch.equal(tensor, torch.from_numpy(array.copy()))
