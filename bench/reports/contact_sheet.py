"""Draw a contact sheet: small pictures in rows, each with its captions below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pzsl_bench.base.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COLUMNS, PICTURE, MARGIN, FRAME = 5, 168, 10, 4
FONT_SIZE, LINE_HEIGHT, TITLE_HEIGHT = 12, 15, 40
LETTERS_PER_LINE, MAX_LINES = 27, 4
PAPER, INK = (255, 255, 255), (30, 30, 30)
FRAMES = {True: (40, 150, 70), False: (200, 60, 50), None: (170, 170, 170)}


@dataclass(frozen=True)
class Tile:
    """A picture with its captions."""

    picture: Image | None
    """None where the file cannot be read."""
    captions: Sequence[str]
    right: bool | None
    """Colour of the frame: green for True, red for False, grey for None (not known)."""


def kind_of(path: Path) -> str:
    """The format that a file name asks for."""
    if path.suffix.lower() not in IMAGE_FORMATS:
        raise UserError(f"--out {path}: a sheet is a picture, so the name must end in .png or .jpg")
    return IMAGE_FORMATS[path.suffix.lower()]


def save(path: Path, title: str, tiles: Sequence[Tile]) -> None:
    """Draw the sheet and write it."""
    kind = kind_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(title, tiles).save(path, kind)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written: {error.strerror or error}") from None


def draw(title: str, tiles: Sequence[Tile]) -> Image:
    """The sheet in colour; pictures keep their proportions, small ones are enlarged without smoothing."""
    from PIL import ImageDraw, ImageFont
    from PIL.Image import new

    wrapped = [_wrapped(tile.captions) for tile in tiles]
    height = PICTURE + 2 * FRAME + LINE_HEIGHT * max(map(len, wrapped), default=0) + MARGIN
    width = PICTURE + 2 * FRAME + MARGIN
    rows = -(-len(tiles) // COLUMNS)
    sheet = new("RGB", (MARGIN + COLUMNS * width, TITLE_HEIGHT + rows * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    letters = ImageFont.load_default(FONT_SIZE)
    pen.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(FONT_SIZE + 4))
    for i, (tile, texts) in enumerate(zip(tiles, wrapped, strict=True)):
        left, top = MARGIN + i % COLUMNS * width, TITLE_HEIGHT + i // COLUMNS * height
        outer = PICTURE + 2 * FRAME
        pen.rectangle((left, top, left + outer - 1, top + outer - 1), FRAMES[tile.right])
        pen.rectangle((left + FRAME, top + FRAME, left + FRAME + PICTURE - 1, top + FRAME + PICTURE - 1), PAPER)
        if tile.picture is not None:
            small = _fitted(tile.picture)
            sheet.paste(small, (left + (outer - small.width) // 2, top + (outer - small.height) // 2))
        for number, text in enumerate(texts):
            pen.text((left, top + outer + number * LINE_HEIGHT), text, INK, letters)
    return sheet


def _fitted(picture: Image) -> Image:
    from PIL.Image import Resampling

    picture = picture.convert("RGB")
    factor = PICTURE / max(picture.size)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    return picture.resize((size[0], size[1]), Resampling.NEAREST if factor > 1 else Resampling.BICUBIC)


def _wrapped(captions: Sequence[str]) -> list[str]:
    """All captions in lines that fit below a picture; what is too much is cut off."""
    lines = [line for caption in captions for line in textwrap.wrap(caption, LETTERS_PER_LINE)]
    return (
        lines
        if len(lines) <= MAX_LINES
        else [*lines[: MAX_LINES - 1], f"{lines[MAX_LINES - 1][: LETTERS_PER_LINE - 4]} ..."]
    )
