"""The fourteen outlines: functions f(u, v), positive inside, u to the right and v down, radius about 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
Outline = Callable[[Plane, Plane], Plane]


def _radius(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v)


def _minimum(*values: Plane) -> Plane:
    minimum = values[0]
    for value in values[1:]:
        minimum = np.minimum(minimum, value)
    return minimum


def _polygon(u: Plane, v: Plane, sides: int, offset: float) -> Plane:
    angles = [math.pi / 2 + 2 * math.pi * i / sides for i in range(sides)]
    return _minimum(*(offset - (u * math.cos(a) + v * math.sin(a)) for a in angles))


def _star(u: Plane, v: Plane) -> Plane:
    # Five-fold symmetry and a mirror leave one edge, from the tip (radius 1) to the notch (radius .45).
    wedge = 2 * math.pi / 5
    angle = np.arctan2(u, -v)
    folded = np.abs(angle - wedge * np.round(angle / wedge))
    notch_x, notch_y = 0.45 * math.cos(wedge / 2), 0.45 * math.sin(wedge / 2)
    length = math.hypot(1 - notch_x, notch_y)
    r = _radius(u, v)
    x, y = r * np.cos(folded), r * np.sin(folded)
    return ((1 - x) * notch_y - y * (1 - notch_x)) / length


def _flower(u: Plane, v: Plane) -> Plane:
    r = _radius(u, v)
    c = -v / np.maximum(r, 1e-6)
    # cos 5a as a polynomial of cos a.
    return 0.66 + 0.27 * (16 * c**5 - 20 * c**3 + 5 * c) - r


def _cross(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(0.9 - a, 0.3 - b), np.minimum(0.3 - a, 0.9 - b))


def _ring(u: Plane, v: Plane) -> Plane:
    r = _radius(u, v)
    return _minimum(0.92 - r, r - 0.5)


def _heart(u: Plane, v: Plane) -> Plane:
    lobe = 0.46 - _radius(np.abs(u) - 0.4, v + 0.28)
    tip = 0.52 - (np.abs(u) + np.abs(v - 0.08)) / math.sqrt(2)
    inside: Plane = np.maximum(lobe, tip)
    return inside


def _arrow(u: Plane, v: Plane) -> Plane:
    b = np.abs(v)
    bar = _minimum(0.26 - b, u + 0.95, 0.2 - u)
    head = _minimum(u - 0.02, (0.95 - u - 1.2 * b) / math.hypot(1, 1.2))
    return np.maximum(bar, head)


OUTLINES: dict[str, Outline] = {
    "circle": lambda u, v: 0.9 - _radius(u, v),
    "oval": lambda u, v: 0.605 * (1 - _radius(u, v / 0.52)),
    "square": lambda u, v: 0.78 - np.maximum(np.abs(u), np.abs(v)),
    "diamond": lambda u, v: 0.5 * (1 - np.abs(u) / 0.58 - np.abs(v)),
    "triangle": lambda u, v: _polygon(u, v - 0.15, 3, 0.5),
    "hexagon": lambda u, v: _polygon(u, v, 6, 0.8),
    "star": _star,
    "flower": _flower,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": lambda u, v: np.minimum(0.92 - _radius(u, v), _radius(u - 0.5, v) - 0.72),
    "arrow": _arrow,
    "dome": lambda u, v: np.minimum(0.95 - _radius(u, v - 0.4), 0.4 - v),
}
