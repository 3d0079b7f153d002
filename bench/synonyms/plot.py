"""A picture of one class: its names in the plane of their main directions, what its space keeps, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.synonyms.report import Rows, Space
from pzsl_bench.synonyms.space import DISTANCE_TOLERANCE, Compactness, distances

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pzsl_bench.data.source import Source
    from pzsl_bench.encoding.encode import Encoded

SUFFIXES = (".png", ".svg", ".pdf")
MAX_IMAGES = 200
DOTS_PER_INCH = 160
FONT, LINE, WIDTH = 8.0, 10.0, 0.62
"""Size of labels and of their lines in points, and the width of a letter in sizes."""
ASIDE, TOUCH = 8.0, 1e-6
"""Distance of a label from its point, in points; boxes that share less than this touch."""
KEPT_COLOUR, LEFT_OUT_COLOUR, IMAGE_COLOUR = "#1b6ca8", "#b0413e", "#c9c3b5"


@dataclass(frozen=True)
class Picture:
    """What is drawn of a class."""

    title: str
    names: tuple[str, ...]
    places: Rows
    """(n, 2) the names in the plane."""
    kept: NDArray[np.bool_]
    """(n,)"""
    edges: tuple[tuple[int, int], ...]
    """Pairs of names that are at most eps apart."""
    share: float
    """The share of the names' variance that lies in the plane."""
    images: Rows | None = None
    """(i, 2)"""
    caption: str = ""


def picture(name: str, names: Sequence[str], space: Space, how: Compactness) -> Picture:
    """The names projected to the plane of their two strongest directions."""
    plane, share = _plane(space.points)
    apart = distances(space.points, how.metric)
    pairs = ((i, j) for i in range(len(names)) for j in range(i + 1, len(names)))
    edges = tuple((i, j) for i, j in pairs if apart[i, j] <= space.eps + DISTANCE_TOLERANCE)
    title = f"{name}: {space.kept.sum()} of {len(names)} names kept, eps {space.eps:.3f} ({how.rule})"
    places = (space.points - space.points.mean(0)) @ plane
    # A name with the vector of an earlier one lies on top of it and is shown as kept if that one is kept.
    kept = space.kept | np.array(
        [bool((apart[i, space.kept] < DISTANCE_TOLERANCE + 2e-3).any()) for i in range(len(names))]
    )
    return Picture(title, tuple(names), places, np.where(space.twins, kept, space.kept), edges, share)


@dataclass(frozen=True)
class Images:
    """Images of one class, moved so that images and texts have the same mean."""

    rows: Rows
    """(i, a)"""
    caption: str


def images_of(source: Source, encoded: Encoded, number: int) -> Images:
    """Training images of a seen class, test images of an unseen one.

    They are moved by the difference between the mean text and the mean training image, because texts and images lie in
    two separate cones. Images of an unseen class are drawn, and nothing is computed from them.
    """
    seen = number in source.seen
    of_class = source.tags[:, number] == 1 if source.tags is not None else np.asarray(source.labels == number)
    readable = np.isfinite(encoded.features[:, 0])
    rows = np.flatnonzero(of_class & readable & (source.is_test != seen))
    training = np.setdiff1d(source.training, np.flatnonzero(~readable))
    shift = encoded.texts.mean(0) - encoded.features[training].mean(0)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_IMAGES)).astype(int)]
    what = "training images" if seen else "test images of an unseen class, drawn and not used"
    caption = f"{len(chosen)} {what}, moved by the difference between mean name and mean training image"
    return Images(encoded.features[chosen].astype(np.float64) + shift, caption)


def with_images(drawn: Picture, space: Space, images: Images) -> Picture:
    """The same picture, with images in the plane of the names."""
    plane, _ = _plane(space.points)
    return replace(drawn, images=(images.rows - space.points.mean(0)) @ plane, caption=images.caption)


def _plane(points: Rows) -> tuple[Rows, float]:
    """(a, 2) an orthonormal basis, and its share of the variance; a column of zeros for every missing direction."""
    centred = points - points.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    basis = np.zeros((points.shape[1], 2))
    strong = min(2, int((sizes > 1e-9).sum()))
    for column, direction in enumerate(directions[:strong]):
        # A singular vector has no sign of its own: the largest entry is made positive.
        basis[:, column] = direction * np.sign(direction[np.abs(direction).argmax()])
    total = float((sizes**2).sum())
    return basis, float((sizes[:2] ** 2).sum()) / total if total > 0 else 1.0


def draw(drawn: Picture, path: Path) -> None:
    """Write the picture, in the format of the suffix."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if drawn.images is not None:
        axes.scatter(drawn.images[:, 0], drawn.images[:, 1], s=9, color=IMAGE_COLOUR, label="images", zorder=1)
    for i, j in drawn.edges:
        axes.plot(
            *drawn.places[[i, j]].T,
            color=KEPT_COLOUR if drawn.kept[i] else LEFT_OUT_COLOUR,
            alpha=0.3,
            linewidth=1,
            zorder=2,
        )
    for label, chosen, colour in (("kept", drawn.kept, KEPT_COLOUR), ("left out", ~drawn.kept, LEFT_OUT_COLOUR)):
        if chosen.any():
            axes.scatter(drawn.places[chosen, 0], drawn.places[chosen, 1], s=34, color=colour, label=label, zorder=3)
    axes.scatter(
        drawn.places[:1, 0],
        drawn.places[:1, 1],
        s=130,
        facecolors="none",
        edgecolors="black",
        label="class name",
        zorder=4,
    )
    axes.set_title(_plain_text(drawn.title), fontsize=10)
    axes.set_xlabel(f"the plane holds {100 * drawn.share:.0f} % of the names' variance", fontsize=8)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=7)
    axes.margins(0.12)
    axes.legend(fontsize=8, loc="best")
    if drawn.caption:
        figure.supxlabel(_plain_text(drawn.caption), fontsize=7)
    # The positions of the points are known only after this.
    figure.draw_without_rendering()
    _label(axes, drawn, 72 / figure.dpi)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date and random names inside, so that the same picture is the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})
        with rc_context({"svg.hashsalt": "names"}):
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _label(axes: Axes, drawn: Picture, points: float) -> None:
    labels = [_short(name) for name in drawn.names]
    anchors = points * axes.transData.transform(drawn.places)
    middle = points * axes.bbox.get_points().mean(0)
    for number, (right, up) in enumerate(label_offsets(anchors, labels, middle)):
        outer = 0 if right > 0 else 1
        axes.annotate(
            labels[number],
            tuple(drawn.places[number]),
            (right, up),
            textcoords="offset points",
            fontsize=FONT,
            fontweight="bold" if number == 0 else "normal",
            horizontalalignment=("left", "right")[outer],
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "grey", "relpos": (outer, 0.5)},
        )


def label_offsets(anchors: Rows, labels: Sequence[str], middle: Rows) -> list[tuple[float, float]]:
    """Where each label stands beside its point, in points of type, so that no two overlap.

    A label stands on the side of its point that is nearer to the middle. It moves towards the height of the middle, and
    beyond, until it overlaps no other.
    """
    boxes: list[tuple[float, float, float, float]] = []
    offsets = []
    for (x, y), label in zip(anchors.tolist(), labels, strict=True):
        width = WIDTH * FONT * len(label)
        side = ASIDE if x <= middle[0] else -ASIDE
        left = x + side if side > 0 else x + side - width
        up = 0.0
        while any(overlap((left, y + up, left + width, y + up + LINE), box) for box in boxes):
            up += LINE if y <= middle[1] else -LINE
        boxes.append((left, y + up, left + width, y + up + LINE))
        offsets.append((side, up))
    return offsets


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, bottom, right, top) have more than an edge in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] - TOUCH and other[1] < one[3] - TOUCH


def check_suffix(path: Path) -> Path:
    """The path, if its suffix is that of a picture."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: a picture ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    return path


def _short(text: str) -> str:
    return _plain_text(text if len(text) <= 40 else f"{text[:39]}…")


def _plain_text(text: str) -> str:
    # Between two dollar signs matplotlib would read a formula.
    return text.replace("$", r"\$")
