"""Names of metrics: safe wherever they go, and told in words with the preset."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pzsl_bench.judging.tag_metrics import tag_metrics
from pzsl_bench.records.metric_names import NAMES, PLAIN, in_words, is_metric, of_tags, telling

FOUND = [*tag_metrics(np.zeros((2, 5)), np.ones((2, 5), dtype=np.int8), 3, (1, 3)), "mAP_train"]


@pytest.mark.parametrize("name", FOUND)
def test_every_metric_of_tags_is_known_and_safe_in_a_file_name_and_in_mlflow(name: str) -> None:
    assert of_tags(name) and is_metric(name)
    assert re.fullmatch(r"\w+", name)
    assert in_words(name) != name


def test_words_name_the_preset_and_the_setting() -> None:
    assert in_words("mAP_zsl") == "mean average precision among unseen tags (mAP, ZSL, preset lesa)"
    assert in_words("F1_at_3_gzsl_sdl") == "F1 of the 3 best among seen and unseen tags (F1@3, GZSL, preset sdl)"
    assert in_words("P_at_10_seen") == "precision of the 10 best among seen tags (P@10, preset lesa)"
    assert in_words("H") == NAMES["H"]
    assert in_words("my_own") == "my_own"


@pytest.mark.parametrize("name", ["H", "mAP", "mAP_test", "F1_at_0_zsl", "F1_at_3", "F1_at_3_train", "mAP_zsl_lesa"])
def test_other_names_are_none_of_tags(name: str) -> None:
    assert not of_tags(name)


def test_costs_are_no_metrics() -> None:
    assert not any(is_metric(name) for name in PLAIN)
    assert is_metric("accuracy") and not is_metric("accurate")


def test_the_telling_ones_are_those_that_there_are() -> None:
    assert telling(FOUND) == ("mAP_zsl", "mAP_gzsl", "F1_at_1_zsl", "F1_at_1_gzsl", "mAP_seen")
    assert telling(["mAP_seen", "F1_at_10_seen", "F1_at_20_seen"]) == ("mAP_seen", "F1_at_10_seen")
    assert telling(["H", "T1"]) == ()
