"""What the metrics are called: in words for captions, and which of them belong together."""

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
    "AUSUC": "area under the seen-unseen curve (AUSUC)",
    "U_cal": "accuracy on unseen classes with calibrated stacking (U)",
    "S_cal": "accuracy on seen classes with calibrated stacking (S)",
    "H_cal": "harmonic mean of seen and unseen accuracy with calibrated stacking (H)",
    "seconds": "seconds per run",
    "mean_candidates": "mean size of the candidate sets",
    "stack": "runs trained together",
    "peak_mb": "peak memory in MB",
    "gamma": "bias of calibrated stacking",
}
ZERO_SHOT = ("T1", "U", "S", "H", "AUSUC", "U_cal", "S_cal", "H_cal", "gamma")
# Neither fractions nor anything that has a best.
PLAIN = ("seconds", "mean_candidates", "stack", "peak_mb", "gamma")

OF_TAGS = re.compile(r"(?:(mAP)|(F1|P|R)_at_([1-9]\d*))_(zsl|gzsl|seen|train)(_sdl)?")
"""mAP_zsl, F1_at_3_gzsl, P_at_5_seen_sdl, ...: of images with tags; the end of the name says which preset counted."""
AMONG = {"zsl": "unseen tags", "gzsl": "seen and unseen tags", "seen": "seen tags"}
NAMED = {"F1": "F1", "P": "precision", "R": "recall"}


def is_tag_metric(metric: str) -> bool:
    """Whether it is a metric of images with tags."""
    found = OF_TAGS.fullmatch(metric)
    return found is not None and (found[4] != "train" or metric == "mAP_train")


def is_metric(metric: str) -> bool:
    """Whether it measures results and not what they cost."""
    return is_tag_metric(metric) or (metric in NAMES and metric not in PLAIN)


def metric_title(metric: str) -> str:
    """A metric as a caption writes it; for tags with the preset."""
    if metric == "mAP_train":
        return "mean average precision of seen tags on the training images (mAP)"
    found = OF_TAGS.fullmatch(metric)
    if found is None:
        return NAMES.get(metric, metric)
    _, short, number, part, sdl = found.groups()
    setting = f"{part.upper()}, " if part != "seen" else ""
    preset = f"{setting}preset {'sdl' if sdl else 'lesa'}"
    if short is None:
        return f"mean average precision among {AMONG[part]} (mAP, {preset})"
    return f"{NAMED[short]} of the {number} best among {AMONG[part]} ({short}@{number}, {preset})"


def telling_tag_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics that tell most of images with tags, of those that there are; F1 at the least number of tags."""
    held = {name: found for name in names if (found := OF_TAGS.fullmatch(name)) and not found[5]}
    least = min((int(found[3]) for found in held.values() if found[3]), default=0)
    wanted = ["mAP_zsl", "mAP_gzsl", f"F1_at_{least}_zsl", f"F1_at_{least}_gzsl", "mAP_seen"]
    if "mAP_zsl" not in held:
        wanted = ["mAP_seen", f"F1_at_{least}_seen"]
    return tuple(name for name in wanted if name in held)
