"""Generators of candidate sets: how the labels of the seen training images become ambiguous.

Where an image is of one class, its label becomes a set of candidates. The true label is one of them, but for the rules
with noise: those take it away with a given probability. Where an image has tags, annotations are lost or wrong
(`pzsl_bench.data.tag_corruption` has the rules). All are a pure function of (dataset, ambiguity, rate, noise, seed):
the uniform numbers come from `pzsl_bench.base.randomness`, never from a library stream. Neither rate nor noise is part
of their key, so a higher rate only adds labels to the sets of a lower one, or takes more annotations away, and a higher
noise only takes further true labels away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError
from pzsl_bench.base.registry import Registry
from pzsl_bench.data import tag_corruption
from pzsl_bench.data.tag_corruption import Marks

Mask = NDArray[np.bool_]
LabelSets = Mask | Marks
"""The labels that methods see: (N, K) candidate sets, or int8 tags: 1 present, -1 absent, 0 not annotated."""
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """What a generator may read of the training set. Unlike a study, it holds the true labels."""

    truth: NDArray[np.int64]
    """(N,) true seen class of every training image; empty where images have tags."""
    classes: int
    """K, the number of seen classes."""
    texts: Reals
    """(K, a) unit embeddings of the seen class names."""
    reference: Callable[[], Reals]
    """Makes (N, K) logits of the reference model, the encoder's own zero-shot head."""
    given: Mask | None = None
    """(N, K) the dataset's own candidate sets, where it has them."""
    tags: Marks | None = None
    """(N, K) the true tags, where an image may have several."""

    def true_labels(self) -> LabelSets:
        """(N, K) the truth, in the form of candidate sets or annotations."""
        return self.truth_mask() if self.tags is None else self.tags

    def truth_mask(self) -> Mask:
        """(N, K) with one true label in every row."""
        mask = np.zeros((len(self.truth), self.classes), dtype=bool)
        mask[np.arange(len(self.truth)), self.truth] = True
        return mask


Generator = Callable[[Labelled, float, int], LabelSets]
Turns = Callable[[Labelled, int], Reals]
"""(labelled, stream of random numbers) -> (N, K) the order in which labels join as the rate rises, smallest first."""


@dataclass(frozen=True)
class Ambiguity:
    """A named generator of candidate sets."""

    name: str
    title: str
    summary: str
    version: int
    draw: Generator
    """(labelled, rate, stream of random numbers) -> (N, K) candidate mask, or annotations of tags."""
    needs: frozenset[str] = frozenset()
    """What a dataset must have for it: "texts" of its classes, "candidates" of its images."""
    rated: bool = True
    """Whether it has a rate; if not, the rate is written as 0."""
    task: str = "classes"
    """Whether it is for images of one class, or for images with tags."""
    least: int | None = None
    """For a rate that is a whole number and not a share: its smallest value."""
    plain: str = ""
    """For a rule with noise: the rule without, whose random numbers it shares."""
    turns: Turns | None = None
    """For a rule with noise: which wrong label stands in where a set would be empty."""

    @property
    def noisy(self) -> bool:
        """Whether it has noise: true labels may be missing."""
        return self.turns is not None

    def check_noise(self, noise: float) -> None:
        """Raise UserError for a noise that is not allowed."""
        if not 0 <= noise < 1:
            raise UserError(f"noise {noise!r} is not from 0 to below 1")
        if noise and not self.noisy:
            with_noise = ", ".join(name for name, rule in AMBIGUITIES.all().items() if rule.noisy)
            raise UserError(f"ambiguity '{self.name}' has no noise; ambiguities with noise: {with_noise}")

    def check_rate(self, rate: float) -> None:
        """Raise UserError for a rate that is not allowed."""
        if self.least is not None:
            if rate < self.least or rate != int(rate):
                raise UserError(
                    f"rate {rate:g} of ambiguity '{self.name}' is not a whole number from {self.least} on; beside"
                    f" ambiguities whose rate is a share write include: {{ambiguity: {self.name}, rate: 5}}"
                )
        elif not 0 <= rate <= 1:
            raise UserError(f"rate {rate!r} is not between 0 and 1")
        if rate and not self.rated:
            raise UserError(
                f"ambiguity '{self.name}' has no rate: write rates: [0], or beside other ambiguities"
                f" include: {{ambiguity: {self.name}, rate: 0}}"
            )


USUAL_NOISE = 0.1
"""The noise of an ambiguity that has some, where a grid does not say how much."""

AMBIGUITIES: Registry[Ambiguity] = Registry("ambiguity", "pzsl_bench.data.ambiguity", whole=True)


def ambiguity(
    name: str,
    *,
    title: str,
    summary: str,
    version: int = 1,
    needs: Iterable[str] = (),
    rated: bool = True,
    task: str = "classes",
    least: int | None = None,
    plain: str = "",
    turns: Turns | None = None,
) -> Callable[[Generator], Generator]:
    """Register a generator under a name."""

    def keep(draw: Generator) -> Generator:
        facts = (frozenset(needs), rated, task, least, plain, turns)
        AMBIGUITIES.add(name, Ambiguity(name, title, summary, version, draw, *facts))
        return draw

    return keep


@ambiguity("flip", title="uniform", summary="each wrong seen label joins with probability rate")
def flip(labelled: Labelled, rate: float, stream: int) -> Mask:
    """Every wrong label joins when its uniform number is below the rate; singletons are allowed."""
    return join(labelled, randomness.uniform(stream, *labelled.truth_mask().shape), rate)


@ambiguity(
    "flip_forced",
    title="uniform, no singletons",
    summary="flip, then every image left with one candidate gets one more wrong label",
)
def flip_forced(labelled: Labelled, rate: float, stream: int) -> Mask:
    """Flip; a row with one candidate gets the wrong label whose uniform number was the smallest."""
    uniform = randomness.uniform(stream, *labelled.truth_mask().shape)
    mask = join(labelled, uniform, rate)
    if labelled.classes > 1:
        alone = mask.sum(1) == 1
        uniform[labelled.truth_mask()] = np.inf
        mask[alone, uniform[alone].argmin(1)] = True
    return mask


@ambiguity("pair", title="next class", summary="the next class (by number) joins with probability rate")
def pair(labelled: Labelled, rate: float, stream: int) -> Mask:
    """Only class (y + 1) mod K can be the wrong candidate."""
    mask = labelled.truth_mask()
    rows = np.flatnonzero(randomness.uniform(stream, len(mask)) < rate)
    mask[rows, (labelled.truth[rows] + 1) % labelled.classes] = True
    return mask


@ambiguity(
    "semantic",
    title="similar names",
    summary="wrong labels join by text similarity: the nearest with probability rate, halving every (K-1)/8 ranks",
    needs=["texts"],
)
def semantic(labelled: Labelled, rate: float, stream: int) -> Mask:
    """The r-th most similar wrong label joins with probability rate * 2^(-8 r / (K-1)), r = 0, 1, ...

    Ranks rather than similarities decide, so the last bits of an embedding change nothing.
    """
    probability = rate * name_weights(labelled)
    return join(labelled, randomness.uniform(stream, *labelled.truth_mask().shape), probability[labelled.truth])


def name_weights(labelled: Labelled) -> Reals:
    """(K, K) 2^(-8 r / (K-1)) for the r-th most similar other name of each class; the diagonal means nothing."""
    similarity = labelled.texts @ labelled.texts.T
    np.fill_diagonal(similarity, np.inf)
    # Position 0 is the class itself, so wrong labels have ranks 1 .. K-1.
    rank = np.argsort(np.argsort(-similarity, axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray(2.0 ** (-8.0 * (rank - 1) / max(labelled.classes - 1, 1)))


@ambiguity(
    "instance",
    title="instance-dependent",
    summary="wrong labels join where the encoder's own zero-shot head is tempted; probabilities scaled by the rate",
    needs=["alignment"],
)
def instance(labelled: Labelled, rate: float, stream: int) -> Mask:
    """False-label probabilities from the reference model: the encoder's zero-shot logits of the training images."""
    probability = instance_probability(labelled.reference(), labelled.truth_mask(), rate)
    return join(labelled, randomness.uniform(stream, *probability.shape), probability)


def instance_probability(logits: Reals, truth: Mask, rate: float) -> Reals:
    """(N, K) softmax without the true class, over its row maximum, over its row mean, times rate, at most 1."""
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    soft[truth] = 0
    soft /= np.maximum(soft.max(1, keepdims=True), np.finfo(float).tiny)
    soft /= np.maximum(soft.mean(1, keepdims=True), np.finfo(float).tiny)
    probability: Reals = np.minimum(soft * rate, 1.0)
    return probability


@ambiguity(
    "given",
    title="as given",
    summary="the candidate sets that the dataset came with; no rate",
    needs=["candidates"],
    rated=False,
)
def given(labelled: Labelled, rate: float, stream: int) -> Mask:
    """Nothing is drawn: real ambiguity, the same for every seed but for the split."""
    assert labelled.given is not None, "a dataset without candidate sets of its own is refused when the run is planned"
    return labelled.given


def flip_turns(labelled: Labelled, stream: int) -> Reals:
    """(N, K) the rate above which `flip` adds a wrong label."""
    return randomness.uniform(stream, *labelled.truth_mask().shape)


def semantic_turns(labelled: Labelled, stream: int) -> Reals:
    """(N, K) the rate above which `semantic` adds a wrong label; above 1 it never does."""
    return flip_turns(labelled, stream) / name_weights(labelled)[labelled.truth]


@ambiguity(
    "flip_noisy",
    title="uniform, truth may be missing",
    summary="flip, then an image's true label is taken away with probability noise",
    plain="flip",
    turns=flip_turns,
)
def flip_noisy(labelled: Labelled, rate: float, stream: int) -> LabelSets:
    """The sets of flip, out of which the true label of an image is taken with probability `noise`.

    Each image has one more uniform number, and loses its true label where that number is below the noise. The number
    depends on the dataset and the seed only: the same images lose it at every rate and in `semantic_noisy`, and a
    higher noise only takes further labels away. All else is as in `flip`, with the same random numbers: at noise 0 the
    sets are equal. A set that would be empty gets the wrong label whose number is the smallest, the first to join at a
    higher rate. So a set is never empty, `noise` is the share of images without their true label whatever the rate, and
    a higher rate only adds labels. (With one seen class there is no wrong label, and the true one stays.)

    PiCO+'s code draws the same way but draws an empty set anew, true label included, so that fewer images lack theirs
    at low rates; ALIM's swaps the true label of an image for a wrong one from outside its set, so that sets keep their
    size; here a set shrinks by the label that it loses.
    """
    return flip(labelled, rate, stream)


@ambiguity(
    "semantic_noisy",
    title="similar names, truth may be missing",
    summary="semantic, then an image's true label is taken away with probability noise",
    needs=["texts"],
    plain="semantic",
    turns=semantic_turns,
)
def semantic_noisy(labelled: Labelled, rate: float, stream: int) -> LabelSets:
    """The sets of semantic, out of which the true label of an image is taken with probability `noise`.

    The images that lose it are those of `flip_noisy`; at noise 0 the sets are those of `semantic`. A set that would be
    empty gets the wrong label that `semantic` would add first if its rate were raised, beyond 1 if need be: most often
    the most similar name.
    """
    return semantic(labelled, rate, stream)


@ambiguity("rps", title="annotations lost", summary="every annotation is lost with probability rate", task="tags")
def rps(labelled: Labelled, rate: float, stream: int) -> Marks:
    """Only a random part of an image's annotations is left: tags that it has and tags that it has not.

    The simulation called random per sample. Where it is described by the share of annotations that is kept, the rate
    is the rest: 0.7 for a kept share of 0.3. At rate 0 all annotations are left.
    """
    return tag_corruption.lost(true_tags(labelled), rate, stream)


@ambiguity(
    "fpc",
    title="annotations per tag",
    summary="of every tag so many images are left that have it, and as many that have it not; the rate is that number",
    task="tags",
    least=1,
)
def fpc(labelled: Labelled, rate: float, stream: int) -> Marks:
    """The simulation called fixed per class; a tag with fewer such images keeps them all."""
    return tag_corruption.fixed_number(true_tags(labelled), int(rate), stream)


@ambiguity(
    "single_positive",
    title="one tag told",
    summary="one present tag of every image is told and nothing else; no rate",
    rated=False,
    task="tags",
)
def single_positive(labelled: Labelled, rate: float, stream: int) -> Marks:
    """The extreme of lost annotations: not one absent tag is told."""
    return tag_corruption.single_positive(true_tags(labelled), stream)


@ambiguity(
    "candidates",
    title="tags added",
    summary="so many absent tags of every image are called present, at random; the rate is that number",
    task="tags",
    least=0,
)
def candidates(labelled: Labelled, rate: float, stream: int) -> Marks:
    """Partial multi-label data: all true tags are among the candidates, and all else is said to be absent."""
    return tag_corruption.false_positives(true_tags(labelled), int(rate), stream)


@ambiguity(
    "candidates_near",
    title="similar tags added",
    summary="as candidates, names near those of the image's own tags first: weights halve every (K-1)/8 ranks",
    needs=["texts"],
    task="tags",
    least=0,
)
def candidates_near(labelled: Labelled, rate: float, stream: int) -> Marks:
    """Partial multi-label data with wrong tags that mean something similar."""
    return tag_corruption.near_false_positives(true_tags(labelled), int(rate), stream, labelled.texts)


def true_tags(labelled: Labelled) -> Marks:
    """(N, K) the tags; a plan combines these ambiguities only with datasets that have tags."""
    assert labelled.tags is not None, "an ambiguity of tags is refused for images of one class"
    return labelled.tags


def join(labelled: Labelled, uniform: Reals, probability: Reals | float) -> Mask:
    """(N, K) the true labels, and every wrong one whose uniform number is below its probability."""
    mask: Mask = (uniform < probability) | labelled.truth_mask()
    return mask


def without_truth(labelled: Labelled, drawn: LabelSets, missing: Mask, turns: Reals) -> Mask:
    """(N, K) the sets without the true labels of the images that are (N,) missing; none becomes empty.

    Where nothing would be left, the wrong label with the smallest number in `turns` (N, K) joins.
    """
    mask = drawn.astype(bool)
    if labelled.classes == 1:
        return mask
    rows = np.flatnonzero(missing)
    mask[rows, labelled.truth[rows]] = False
    empty = rows[~mask[rows].any(1)]
    mask[empty, np.where(labelled.truth_mask()[empty], np.inf, turns[empty]).argmin(1)] = True
    return mask


def draw_candidates(
    name: str, labelled: Labelled, rate: float, dataset: str, seed: int, noise: float = 0.0
) -> LabelSets:
    """(N, K) candidate sets, or annotations of tags, of one (dataset, ambiguity, rate, noise, seed)."""
    rule = AMBIGUITIES.get(name)
    rule.check_rate(rate)
    rule.check_noise(noise)
    stream = randomness.key("candidates", dataset, rule.plain or name, seed)
    drawn = rule.draw(labelled, rate, stream)
    if rule.turns is None:
        return drawn
    missing = randomness.uniform(randomness.key("missing", dataset, seed), len(labelled.truth)) < noise
    return without_truth(labelled, drawn, missing, rule.turns(labelled, stream))


def allowed(drawn: LabelSets) -> Mask:
    """(..., N, K) the candidates: of tags those that are annotated as present or not annotated."""
    return drawn >= 0 if drawn.dtype == np.int8 else drawn.astype(bool, copy=False)


def mask_hash(drawn: LabelSets) -> str:
    """A hash that names candidate sets or annotations: the same for equal ones, on any machine."""
    shape = ",".join(map(str, drawn.shape)).encode()
    planes = [drawn > 0, drawn < 0] if drawn.dtype == np.int8 else [drawn]
    return hashlib.sha256(shape + b"".join(np.packbits(plane).tobytes() for plane in planes)).hexdigest()[:16]
