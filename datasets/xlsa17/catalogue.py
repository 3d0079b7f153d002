"""The five sets of the Proposed Split: what they are, and how large their parts are."""

from __future__ import annotations

from dataclasses import dataclass

PAGE = (
    "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/zero-shot-learning/"
    "zero-shot-learning-the-good-the-bad-and-the-ugly"
)
ARCHIVE = "https://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip"
TERMS = "research use; rights in images and attributes stay with the authors of each set"


@dataclass(frozen=True)
class ProposedSet:
    """One folder of the archive."""

    title: str
    citation: str
    images: int
    attributes: int
    seen: int
    unseen: int
    validation: int
    """Seen classes that fold 1 holds out."""
    train: int
    seen_test: int
    unseen_test: int
    remark: str = ""


AWA = "The missing values of the antelope (-1) become 0."

SETS = {
    "AWA1": ProposedSet(
        "Animals with Attributes",
        "Lampert, Nickisch and Harmeling. Attribute-Based Classification for Zero-Shot Visual Object Categorization."
        " TPAMI 36, 2014.",
        *(30_475, 85, 40, 10, 13, 19_832, 4958, 5685),
        remark=AWA,
    ),
    "AWA2": ProposedSet(
        "Animals with Attributes 2",
        "Xian, Lampert, Schiele and Akata. Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad and the"
        " Ugly. TPAMI 41, 2019.",
        *(37_322, 85, 40, 10, 13, 23_527, 5882, 7913),
        remark=AWA,
    ),
    "CUB": ProposedSet(
        "Caltech-UCSD Birds 200-2011",
        "Wah, Branson, Welinder, Perona and Belongie. The Caltech-UCSD Birds-200-2011 Dataset. Caltech, 2011.",
        *(11_788, 312, 150, 50, 50, 7057, 1764, 2967),
        remark="Labels follow allclasses_names, which is not in the order of the numbers in the names of the birds.",
    ),
    "SUN": ProposedSet(
        "SUN Attributes",
        "Patterson, Xu, Su and Hays. The SUN Attribute Database: Beyond Categories for Deeper Scene Understanding."
        " IJCV 108, 2014.",
        *(14_340, 102, 645, 72, 65, 10_320, 2580, 1440),
    ),
    "APY": ProposedSet(
        "aPascal and aYahoo",
        "Farhadi, Endres, Hoiem and Forsyth. Describing Objects by Their Attributes. CVPR, 2009.",
        *(15_339, 64, 20, 12, 5, 5932, 1483, 7924),
    ),
}
