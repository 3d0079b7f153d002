"""Augmented views: pure functions of image and number, with crops that keep what an image shows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pzsl_bench.encoding.crops import AREA, RATIO, VIEWS, Augmentation, crop

shares = st.floats(0, 1, exclude_max=True)
sides = st.integers(1, 3000)


def picture(size: tuple[int, int] = (60, 40), mode: str = "RGB") -> Image.Image:
    width, height = size
    raw = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(raw).convert(mode)


def pixels(views: list[Image.Image]) -> list[bytes]:
    return [view.tobytes() for view in views]


def test_a_view_is_the_same_whatever_was_made_before() -> None:
    first = Augmentation("world", (32, 32))
    alone = {i: pixels(first(picture(), i)) for i in (5, 0, 3)}
    second = Augmentation("world", (32, 32))
    assert alone == {i: pixels(second(picture(), i)) for i in (0, 3, 5)}


def test_views_differ_by_number_by_image_and_by_dataset() -> None:
    different_views = {
        view
        for checksum in ("world", "another")
        for index in (0, 1, 2)
        for view in pixels(Augmentation(checksum, (32, 32))(picture(), index))
    }
    assert len(different_views) == 2 * 3 * VIEWS


def test_the_random_numbers_behind_views_never_change() -> None:
    # A crop without interpolation, so that no version of the imaging library can move a bit.
    flat = Image.fromarray(np.arange(48 * 48, dtype=np.uint32).reshape(48, 48).astype(np.uint8))
    views = [v for i in range(8) for v in Augmentation("world", (48, 48), "nearest")(flat, i)]
    digest = hashlib.sha256(b"".join(view.convert("L").tobytes() for view in views)).hexdigest()
    assert digest[:16] == "b99d9054c8331a4d"


@given(width=sides, height=sides, area=st.floats(*AREA), ratio=shares, left=shares, top=shares)
def test_a_crop_lies_inside_the_image_and_keeps_its_share_and_shape(
    width: int, height: int, area: float, ratio: float, left: float, top: float
) -> None:
    x, y, right, bottom = crop((width, height), area, ratio, left, top)
    w, h = right - x, bottom - y
    assert 0 <= x < right <= width and 0 <= y < bottom <= height
    long, short = max(width, height), min(width, height)
    if short < 50:
        return
    # Sides are rounded to pixels.
    assert RATIO[0] * 0.97 <= w / h <= RATIO[1] * 1.03
    if area * long / short <= RATIO[1]:
        assert w * h / (width * height) == pytest.approx(area, rel=0.05)
    else:
        assert short in (w, h)


def test_crops_reach_every_corner_and_every_share() -> None:
    numbers = np.random.default_rng(0).uniform(size=(2000, 4))
    boxes = np.array([crop((48, 48), AREA[0] + (AREA[1] - AREA[0]) * a, r, x, y) for a, r, x, y in numbers])
    area_shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 48**2
    assert (boxes[:, :2].min(), boxes[:, 2:].max()) == (0, 48)
    assert area_shares.mean() == pytest.approx(np.mean(AREA), abs=0.02)
    assert area_shares.min() < AREA[0] + 0.03 and area_shares.max() > 0.96


def test_half_of_the_views_are_mirrored() -> None:
    # Dark on the left, light on the right: a crop keeps the order, a mirror turns it round.
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1)))
    views = [np.asarray(v)[:, :, 0].astype(int) for i in range(100) for v in Augmentation("world", (16, 16))(ramp, i)]
    mirrored = np.array([view[:, 0].mean() > view[:, -1].mean() for view in views])
    assert mirrored.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "CMYK"])
@pytest.mark.parametrize("size", [(60, 40), (8, 8), (1, 1), (300, 4)])
def test_any_image_gives_views_that_need_no_further_preparation(mode: str, size: tuple[int, int]) -> None:
    suited = Augmentation.suiting({"size": [24, 32], "interpolation": "bicubic"}, "world")
    views = suited(picture(size, mode), 0)
    assert [(view.mode, view.size) for view in views] == [("RGB", (32, 24))] * VIEWS
    square = Augmentation.suiting({"size": 16, "interpolation": "bilinear"}, "world")
    assert square.size == (16, 16)
    assert pixels(square(picture(), 0)) != pixels(Augmentation("world", (16, 16), "bicubic")(picture(), 0))
