"""The words of the drawn world: the names of every texture, colour and shape, with their frequencies.

Twelve words belong to more than one concept ("round" to circle, oval and ring), so that names can be as ambiguous as
natural ones. A combination is numbered (texture * 10 + colour) * 14 + shape.
"""

from __future__ import annotations

from typing import Literal

Naming = Literal["common", "odd"]
Words = tuple[tuple[str, float], ...]


def _words(text: str) -> dict[str, Words]:
    table: dict[str, Words] = {}
    for line in text.strip().splitlines():
        concept, *pairs = line.split()
        table[concept] = tuple((w, float(f)) for w, f in (pair.split("=") for pair in pairs))
    return table


# The first word of a concept is its odd name, the most frequent one its common name.
TEXTURE_WORDS = _words("""
    solid      plain=.14 solid=.50 uniform=.36
    striped    lined=.16 striped=.50 banded=.26 barred=.08
    checkered  checkered=.44 checked=.28 tiled=.12 chequered=.16
    dotted     speckled=.14 dotted=.48 spotted=.38
    bordered   framed=.16 outlined=.48 bordered=.26 lined=.10
""")
COLOUR_WORDS = _words("""
    red     rose=.14 red=.50 crimson=.22 scarlet=.14
    orange  amber=.18 orange=.48 tangerine=.20 rust=.14
    yellow  yellow=.50 lemon=.20 golden=.16 amber=.14
    green   jade=.14 green=.50 emerald=.24 lime=.12
    teal    aqua=.20 teal=.34 turquoise=.34 jade=.12
    blue    blue=.56 navy=.18 azure=.14 aqua=.12
    purple  magenta=.16 purple=.48 violet=.26 plum=.10
    pink    rose=.20 pink=.50 salmon=.14 magenta=.16
    brown   rust=.18 brown=.50 chocolate=.22 tan=.10
    white   pale=.16 white=.56 ivory=.28
""")
SHAPE_WORDS = _words("""
    circle    round=.22 circle=.46 disc=.24 ball=.08
    oval      oval=.50 ellipse=.26 egg=.10 round=.14
    square    square=.50 box=.26 tile=.16 block=.08
    diamond   gem=.20 diamond=.46 rhombus=.24 kite=.10
    triangle  wedge=.12 triangle=.60 pyramid=.28
    hexagon   tile=.20 hexagon=.48 nut=.20 gem=.12
    star      star=.58 asterisk=.20 burst=.22
    flower    flower=.46 blossom=.26 daisy=.16 burst=.12
    cross     cross=.50 plus=.38 crux=.12
    ring      hoop=.10 ring=.56 loop=.22 round=.12
    heart     heart=.70 valentine=.20 love=.10
    crescent  moon=.24 crescent=.52 sickle=.24
    arrow     pointer=.12 arrow=.62 dart=.26
    dome      dome=.46 semicircle=.26 bowl=.12 moon=.16
""")

TEXTURES = tuple(TEXTURE_WORDS)
COLOURS = tuple(COLOUR_WORDS)
SHAPES = tuple(SHAPE_WORDS)
KINDS = (TEXTURE_WORDS, COLOUR_WORDS, SHAPE_WORDS)
SIZES = (len(TEXTURES), len(COLOURS), len(SHAPES))
COMBINATIONS = len(TEXTURES) * len(COLOURS) * len(SHAPES)

# Words that replace a shape that a caption leaves out, and the openings of captions.
THINGS = ("thing", "object", "figure", "item")
OPENINGS = (
    "a",
    "a",
    "a",
    "the",
    "one",
    "a photo of a",
    "a picture of a",
    "a drawing of a",
    "an image of a",
)


def number(texture: int, colour: int, shape: int) -> int:
    """The number of a combination."""
    return (texture * SIZES[1] + colour) * SIZES[2] + shape


def parts(combination: int) -> tuple[int, int, int]:
    """(texture, colour, shape) of a combination."""
    rest, shape = divmod(combination, SIZES[2])
    return (*divmod(rest, SIZES[1]), shape)


def word(words: Words, naming: Naming) -> str:
    """The word that class names use for a concept."""
    return words[0][0] if naming == "odd" else max(words, key=lambda pair: pair[1])[0]


def class_name(combination: int, naming: Naming = "common") -> str:
    """What a combination is called: "dotted teal circle", or with odd words "speckled aqua round"."""
    chosen = (list(kind.values())[value] for kind, value in zip(KINDS, parts(combination), strict=True))
    return " ".join(word(words, naming) for words in chosen)


def vocabulary() -> tuple[str, ...]:
    """Every word a caption may hold, in alphabetical order."""
    concept_words = {w for kind in KINDS for words in kind.values() for w, _ in words}
    return tuple(sorted({*concept_words, *THINGS, *" ".join(OPENINGS).split(), "that", "is", "and"}))
