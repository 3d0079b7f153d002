"""Names of metrics: their titles in captions, and which of them measure tags, zero-shot classes or cost."""

from __future__ import annotations

import re
from collections.abc import Iterable

NAMES = {
    "T1": "class-averaged accuracy on unseen classes (T1)",
    "U": "accuracy on unseen classes among all classes (U)",
    "S": "accuracy on seen classes among all classes (S)",
    "H": "harmonic mean of seen and unseen accuracy (H)",
    "seen_acc": "class-averaged accuracy on seen classes among seen classes",
    "accuracy": "accuracy on seen classes among seen classes, a plain share of the images",
    "within_3": "share of images whose class is missed by at most 3",
    "within_5": "share of images whose class is missed by at most 5",
    "D": "disambiguation accuracy on the training candidates (D)",
    "recovered": "training images named correctly among seen classes although their true label is no candidate",
    "AUSUC": "area under the seen-unseen curve (AUSUC)",
    "U_cal": "accuracy on unseen classes with calibrated stacking by true labels of training images (U)",
    "S_cal": "accuracy on seen classes with calibrated stacking by true labels of training images (S)",
    "H_cal": "harmonic mean of seen and unseen accuracy with calibrated stacking by true labels of training images (H)",
    "seconds": "seconds per run",
    "mean_candidates": "mean size of the candidate sets",
    "stack": "runs trained together",
    "peak_mb": "peak memory in MB",
    "gamma": "bias of calibrated stacking",
}
ZERO_SHOT = ("T1", "U", "S", "H", "AUSUC", "U_cal", "S_cal", "H_cal", "gamma")
# Numbers that are no fractions and of which none is the best.
PLAIN = ("seconds", "mean_candidates", "stack", "peak_mb", "gamma")

TAG_METRIC = re.compile(r"(?:(mAP)|(F1|P|R)_at_([1-9]\d*))_(zsl|gzsl|seen|train)(_sdl)?")
"""Metrics of images with tags: mAP_zsl, F1_at_3_gzsl, P_at_5_seen_sdl, ... The end of a name says the preset."""
PART_TITLES = {"zsl": "unseen tags", "gzsl": "seen and unseen tags", "seen": "seen tags"}
MEASURE_TITLES = {"F1": "F1", "P": "precision", "R": "recall"}


def is_tag_metric(metric: str) -> bool:
    """Whether it is a metric of images with tags."""
    match = TAG_METRIC.fullmatch(metric)
    return match is not None and (match[4] != "train" or metric == "mAP_train")


def is_metric(metric: str) -> bool:
    """Whether it measures results and not what they cost."""
    return is_tag_metric(metric) or (metric in NAMES and metric not in PLAIN)


def metric_title(metric: str) -> str:
    """The title of a metric in captions; metrics of tags name their preset."""
    if metric == "mAP_train":
        return "mean average precision of seen tags on the training images (mAP)"
    match = TAG_METRIC.fullmatch(metric)
    if match is None:
        return NAMES.get(metric, metric)
    _, short, number, part, sdl = match.groups()
    setting = f"{part.upper()}, " if part != "seen" else ""
    preset = f"{setting}preset {'sdl' if sdl else 'lesa'}"
    if short is None:
        return f"mean average precision among {PART_TITLES[part]} (mAP, {preset})"
    return f"{MEASURE_TITLES[short]} of the {number} best among {PART_TITLES[part]} ({short}@{number}, {preset})"


def main_tag_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The most informative tag metrics among these names (preset lesa); F1 at the smallest number of tags."""
    matches = {name: match for name in names if (match := TAG_METRIC.fullmatch(name)) and not match[5]}
    smallest = min((int(match[3]) for match in matches.values() if match[3]), default=0)
    preferred = ["mAP_zsl", "mAP_gzsl", f"F1_at_{smallest}_zsl", f"F1_at_{smallest}_gzsl", "mAP_seen"]
    if "mAP_zsl" not in matches:
        preferred = ["mAP_seen", f"F1_at_{smallest}_seen"]
    return tuple(name for name in preferred if name in matches)
