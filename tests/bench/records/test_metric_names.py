"""Names of metrics: safe wherever they go, and told in words with the preset."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pzsl_bench.judging.tag_metrics import tag_metrics
from pzsl_bench.records.metric_names import NAMES, PLAIN, is_metric, is_tag_metric, main_tag_metrics, metric_title

FOUND = [*tag_metrics(np.zeros((2, 5)), np.ones((2, 5), dtype=np.int8), 3, (1, 3)), "mAP_train"]


@pytest.mark.parametrize("name", FOUND)
def test_every_metric_of_tags_is_known_and_safe_in_a_file_name_and_in_mlflow(name: str) -> None:
    assert is_tag_metric(name) and is_metric(name)
    assert re.fullmatch(r"\w+", name)
    assert metric_title(name) != name


def test_words_name_the_preset_and_the_setting() -> None:
    assert metric_title("mAP_zsl") == "mean average precision among unseen tags (mAP, ZSL, preset lesa)"
    assert metric_title("F1_at_3_gzsl_sdl") == "F1 of the 3 best among seen and unseen tags (F1@3, GZSL, preset sdl)"
    assert metric_title("P_at_10_seen") == "precision of the 10 best among seen tags (P@10, preset lesa)"
    assert metric_title("H") == NAMES["H"]
    assert metric_title("my_own") == "my_own"


@pytest.mark.parametrize("name", ["H", "mAP", "mAP_test", "F1_at_0_zsl", "F1_at_3", "F1_at_3_train", "mAP_zsl_lesa"])
def test_other_names_are_none_of_tags(name: str) -> None:
    assert not is_tag_metric(name)


def test_costs_are_no_metrics() -> None:
    assert not any(is_metric(name) for name in PLAIN)
    assert is_metric("accuracy") and not is_metric("accurate")


def test_the_telling_ones_are_those_that_there_are() -> None:
    assert main_tag_metrics(FOUND) == ("mAP_zsl", "mAP_gzsl", "F1_at_1_zsl", "F1_at_1_gzsl", "mAP_seen")
    assert main_tag_metrics(["mAP_seen", "F1_at_10_seen", "F1_at_20_seen"]) == ("mAP_seen", "F1_at_10_seen")
    assert main_tag_metrics(["H", "T1"]) == ()
