"""The candidate sets of a rehearsal: those of its training images, among the classes that it is fitted on.

An image is rehearsed with if its true class is one of these, so a set that holds the true label keeps a candidate. One
that does not (an ambiguity with noise) may lose all it has. It then gets one wrong label among those classes at random,
as the ambiguities themselves put a wrong label where a set would be empty: the image stays as noisy as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base import randomness


def sets_among(
    candidates: Tensor,
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    truth: NDArray[np.int64],
    draws: Sequence[str],
) -> Tensor:
    """(R, N, K) sets -> (R, len(rows), len(classes)) those of some images among some classes, none of them empty.

    `truth` holds the true classes of these images as positions in `classes`, `draws` the names of the R runs' sets.
    """
    device = candidates.device
    among = candidates[:, torch.from_numpy(rows).to(device)][:, :, torch.from_numpy(classes).to(device)]
    empty = ~among.any(-1).cpu().numpy()
    for run in np.flatnonzero(empty.any(1)).tolist():
        images = np.flatnonzero(empty[run])
        dice = randomness.uniform(randomness.key(draws[run], "rehearsal"), candidates.shape[1], len(classes))[rows]
        dice[np.arange(len(rows)), truth] = np.inf
        wrong = torch.from_numpy(dice[images].argmin(1)).to(device)
        among[run, torch.from_numpy(images).to(device), wrong] = True
    return among
