"""Images of 48 x 48 pixels, drawn by arithmetic: an object, or a scene of several, over a cluttered background.

Every random number is a pure function of (stream, image id), so an image never depends on the others. Edges are soft:
coverage is clip(1/2 + signed distance in pixels, 0, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.randomness import bits, key, uniform_at
from pzsl_bench.datasets.shapes.lexicon import SHAPES, SIZES, TEXTURES
from pzsl_bench.datasets.shapes.outlines import OUTLINES, Plane

SIDE = 48
CHUNK = 64
"""Images drawn at a time: few enough for the processor's cache."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PALETTE = (
    np.array(
        [
            (215, 35, 40),
            (240, 130, 25),
            (235, 215, 50),
            (50, 160, 60),
            (30, 175, 175),
            (45, 75, 210),
            (130, 50, 175),
            (240, 130, 185),
            (125, 75, 35),
            (238, 238, 235),
        ]
    )
    / 255
)
WHITE = 9
LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Style:
    """How images look. The difference between PRE (pre-training) and BENCH is a domain shift to which methods adapt."""

    hue: float
    """Saturation of the background."""
    radius: tuple[float, float]
    """Range in pixels of a single object's radius."""
    rotation: float
    """Largest rotation either way, in radians."""
    under: int
    over: int
    """Strokes of clutter below and above the object, each drawn with probability .6."""
    noise: float
    tint: tuple[float, float, float]
    tint_jitter: float


PRE = Style(0.5, (12, 20), 0.35, 2, 0, 0.05, (1, 1, 1), 0.12)
BENCH = Style(0.6, (11, 17), 0.5, 4, 1, 0.08, (1.05, 0.88, 0.68), 0.20)
SCENE_RADIUS = (6.5, 10.0)


def draw(stream: int, ids: Ints, combinations: Ints, style: Style) -> NDArray[np.uint8]:
    """(n, 48, 48, 3) images of (n, k) combinations; -1 marks an empty place, several make a scene."""
    images = np.empty((len(ids), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        images[part] = _draw(stream, ids[part], combinations[part], style)
    return images


def _random(stream: int, purpose: str, ids: Ints, count: int) -> Floats:
    """(n, count) uniform numbers, a function of each image's id alone."""
    return uniform_at(key(stream, purpose), ids[:, None] * count + np.arange(count))


def _between(u: Floats, low: float | Floats, high: float | Floats) -> Floats:
    return low + u * (high - low)


def _planes(values: Floats) -> Plane:
    """One number per image, in a shape that broadcasts over its pixels."""
    return values.astype(np.float32)[..., None, None]


_AXIS = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)


def _draw(stream: int, ids: Ints, combinations: Ints, style: Style) -> NDArray[np.uint8]:
    n, places = combinations.shape
    textures, rest = np.divmod(combinations, SIZES[1] * SIZES[2])
    colours, shapes = np.divmod(rest, SIZES[2])
    look = _random(stream, "object", (ids[:, None] * 8 + np.arange(places)).ravel(), 16).reshape(n, places, 16)
    paint = PALETTE[colours] * _between(look[..., 0:1], 0.88, 1.12) + _between(look[..., 1:4], -0.07, 0.07)
    frame = _random(stream, "frame", ids, 24)
    image = _background(frame, paint[:, 0] @ LUMINANCE, style)
    for i in range(style.under):
        _stroke(image, _random(stream, f"under {i}", ids, 10))
    cells = np.argsort(frame[:, 12:21], axis=1)
    scene = (combinations >= 0).sum(1) > 1
    for place in range(places):
        present = np.flatnonzero(combinations[:, place] >= 0)
        u = look[present, place]
        single = _between(u[:, 4], *style.radius)
        radius = np.where(scene[present], _between(u[:, 4], *SCENE_RADIUS), single)
        margin = np.maximum(0.95 * single, 15)[:, None]
        cell = np.stack(np.divmod(cells[present, place], 3)[::-1], 1)
        centre = np.where(
            scene[present, None],
            cell * 16 + 8 + _between(u[:, 5:7], -2.5, 2.5),
            _between(u[:, 5:7], margin, SIDE - margin),
        )
        angle = _between(u[:, 7], -style.rotation, style.rotation)
        inside = _signed_distance(shapes[present, place], centre, radius, angle)
        second = _second_texture(textures[present, place], inside, centre, radius, u)
        alpha = np.clip(0.5 + inside, 0, 1)[:, None]
        first, other = (
            paint[present, place],
            _second_colour(colours[present, place], paint[present, place], u),
        )
        surface = _planes(first) + second[:, None] * _planes(other - first)
        image[present] += alpha * (surface - image[present])
    for i in range(style.over):
        _stroke(image, _random(stream, f"over {i}", ids, 10))
    return _finish(stream, ids, image, frame, style)


def _background(frame: Floats, object_luminance: Floats, style: Style) -> Plane:
    """(n, 3, 48, 48) tinted grey with a gradient, moved away from the luminance of the object."""
    base = _between(frame[:, 0:1], 0.12, 0.74) * (1 + style.hue * _between(frame[:, 1:4], -0.6, 0.6))
    luminance = base @ LUMINANCE
    gap = luminance - object_luminance
    # Never darker down to black, on which a dark second colour could not be seen.
    away = np.where((gap < 0) & (luminance > 0.38), -0.28, 0.28)
    base = base + np.where(np.abs(gap) < 0.18, away, 0.0)[:, None]
    slope = _between(frame[:, 4], 0, 0.2) / (SIDE / 2)
    direction = 2 * math.pi * frame[:, 5]
    x, y = (_AXIS - SIDE / 2)[None, None, :], (_AXIS - SIDE / 2)[None, :, None]
    ramp = 1 + _planes(slope * np.cos(direction)) * x + _planes(slope * np.sin(direction)) * y
    ground: Plane = np.clip(_planes(base), 0.02, 0.95) * ramp[:, None]
    return ground


def _stroke(image: Plane, u: Floats) -> None:
    """Paint a short thin stroke of random colour over each image with probability .6."""
    length, angle = _between(u[:, 3], 3, 12), math.pi * u[:, 4]
    dx = _AXIS[None, None, :] - _planes(SIDE * u[:, 1])
    dy = _AXIS[None, :, None] - _planes(SIDE * u[:, 2])
    c, s = _planes(np.cos(angle)), _planes(np.sin(angle))
    beyond = np.maximum(np.abs(dx * c + dy * s) - _planes(length / 2), 0)
    across = dy * c - dx * s
    distance = np.sqrt(beyond * beyond + across * across)
    drawn = _planes((u[:, 0] < 0.6).astype(np.float64))
    alpha = drawn * np.clip(0.5 + _planes(_between(u[:, 5], 0.5, 1.0)) - distance, 0, 1)
    image += alpha[:, None] * (_planes(u[:, 6:9]) - image)


def _signed_distance(shapes: Ints, centre: Floats, radius: Floats, angle: Floats) -> Plane:
    """(n, 48, 48) about how many pixels inside of the outline each pixel lies."""
    dx = (_AXIS[None, None, :] - _planes(centre[:, 0])) / _planes(radius)
    dy = (_AXIS[None, :, None] - _planes(centre[:, 1])) / _planes(radius)
    c, s = _planes(np.cos(angle)), _planes(np.sin(angle))
    u, v = dx * c + dy * s, dy * c - dx * s
    inside = np.empty_like(u)
    for shape in np.unique(shapes).tolist():
        chosen = np.flatnonzero(shapes == shape)
        inside[chosen] = OUTLINES[SHAPES[shape]](u[chosen], v[chosen])
    return inside * _planes(radius)


def _second_texture(textures: Ints, inside: Plane, centre: Floats, radius: Floats, u: Floats) -> Plane:
    """(n, 48, 48) share of the second colour in every pixel."""
    period = np.maximum(5, radius * _between(u[:, 8], 0.42, 0.58))
    angle = math.pi * u[:, 9]
    wave = 2 * math.pi / period
    dx = _AXIS[None, None, :] - _planes(centre[:, 0])
    dy = _AXIS[None, :, None] - _planes(centre[:, 1])
    c, s = _planes(wave * np.cos(angle)), _planes(wave * np.sin(angle))
    a = dx * c + dy * s + _planes(2 * math.pi * u[:, 10])
    b = dy * c - dx * s + _planes(2 * math.pi * u[:, 11])
    pixels = _planes(1 / wave)
    share = np.zeros_like(inside)
    for texture in np.unique(textures).tolist():
        t = np.flatnonzero(textures == texture)
        name = TEXTURES[texture]
        if name == "striped":
            share[t] = np.clip(0.5 + np.sin(a[t]) * pixels[t], 0, 1)
        elif name == "checkered":
            share[t] = np.clip(0.5 + np.sin(a[t]) * np.sin(b[t]) * pixels[t], 0, 1)
        elif name == "dotted":
            share[t] = np.clip(0.5 + (np.cos(a[t]) + np.cos(b[t]) - 0.5) * pixels[t], 0, 1)
        elif name == "bordered":
            border = _planes(np.maximum(1.8, 0.17 * radius[t]))
            share[t] = np.clip(0.5 + border - inside[t], 0, 1)
    return share


def _second_colour(colours: Ints, first: Floats, u: Floats) -> Floats:
    """The second colour: dark in three of four cases, else light. White has no lighter shade; nearly black instead."""
    light = np.where((colours == WHITE)[:, None], 0.25 * first + 0.075, 0.25 * first + 0.75)
    return np.where(u[:, 12:13] < 0.75, 0.22 * first, light)


def _finish(stream: int, ids: Ints, image: Plane, frame: Floats, style: Style) -> NDArray[np.uint8]:
    tint = np.array(style.tint) + _between(frame[:, 6:9], -style.tint_jitter, style.tint_jitter)
    image *= _planes(tint * _between(frame[:, 9:10], 0.8, 1.15))
    # The sum of two 16-bit numbers is good enough as noise, and a random word has four such numbers.
    half = image[0].size // 2
    words = bits(key(stream, "noise"), ids[:, None] * half + np.arange(half))
    low = (words & np.uint64(0xFFFF)) + ((words >> np.uint64(16)) & np.uint64(0xFFFF))
    high = ((words >> np.uint64(32)) & np.uint64(0xFFFF)) + (words >> np.uint64(48))
    noise = np.concatenate([low, high], 1).astype(np.float32).reshape(image.shape) / np.float32(65535) - 1
    level = style.noise * _between(frame[:, 10], 0.5, 1.5) * math.sqrt(6)
    image += noise * _planes(level)[:, None]
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
