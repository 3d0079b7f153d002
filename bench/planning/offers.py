"""What a dataset can give through an encoder, and what a cell needs that it cannot give."""

from __future__ import annotations

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Method
from pzsl_bench.contract.needs import OF_NAMES
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.wording import split_wording
from pzsl_bench.planning.tasks import misfit
from pzsl_bench.problem.roles import Roles
from pzsl_bench.records.cell import Cell
from pzsl_bench.selecting.rules import find_rule

LACKS = {
    "texts": "{who} needs class texts; {dataset} has none",
    "alignment": "{who} needs class texts in the images' own space, from an encoder of both; {dataset} has none",
    "text tower": "{who} needs the text tower of an encoder; {dataset} brings its class texts ready made",
    "views": "{who} needs encoded crops; {dataset} brings features only: views: noise works there",
    **dict.fromkeys(
        OF_NAMES,
        "{who} needs an encoder that reads all names of a class; {dataset} brings its class texts ready made, or its"
        " encoder is told other words of a class than names",
    ),
}
"""The message for each need that a dataset cannot meet."""


def offers(source: Source, encoder: str) -> frozenset[str]:
    """What methods and ambiguities may need and this dataset has, through the encoder of that name."""
    reads_texts = source.texts is None and encoder != "none"
    has = {
        "texts": source.texts is not None or encoder != "none",
        "alignment": encoder != "none" or source.is_aligned,
        "text tower": reads_texts,
        "views": source.has_views,
        "candidates": source.candidates is not None,
    }
    # A wording (such as `+cupl=FILE`) makes class texts of other words than names, and has none for synonyms.
    reads_names = source.names is not None or (reads_texts and split_wording(encoder)[1] is None)
    names = OF_NAMES if reads_names else frozenset()
    return names | {need for need, is_met in has.items() if is_met}


def lack_of(
    cell: Cell, method: Method, task: str, offered: frozenset[str], lacks: dict[tuple[str, str, str], str]
) -> str:
    """A sentence about the first thing that the cell needs and its dataset lacks; empty if there is none.

    `lacks` collects the sentences, one for each need of a method or ambiguity that a dataset does not meet.
    """
    if reason := misfit(cell, task):
        return lacks.setdefault((cell.dataset, reason, "task"), reason)
    ambiguity = AMBIGUITIES.get(cell.ambiguity)
    if "candidates" in ambiguity.needs - offered:
        others = ", ".join(name for name in AMBIGUITIES.names() if name != ambiguity.name)
        raise UserError(
            f"dataset '{cell.dataset}' comes with true labels, not with candidate sets, so ambiguity"
            f" '{ambiguity.name}' has nothing to give: use one of {others}"
        )
    needing = (
        (f"ambiguity '{ambiguity.name}'", cell.ambiguity, ambiguity.needs),
        (cell.row, cell.method, method.needs),
    )
    for who, name, needs in needing:
        # In reverse alphabetical order the more basic lack comes first: `texts` before `alignment` with their space.
        for need in sorted(needs - offered, reverse=True):
            return lacks.setdefault((cell.dataset, name, need), _sentence(need).format(who=who, dataset=cell.dataset))
    return ""


def no_choice(cell: Cell, roles: Roles | None, untunable: str, lacks: dict[tuple[str, str, str], str]) -> str:
    """A sentence about why the cell's rule of selection has nothing to choose by; empty if it has.

    `lacks` collects the sentences, one for each rule and dataset.
    """
    rule = find_rule(cell.select)
    why = untunable if rule.draws else ""
    if not why and rule.folds:
        why = roles.lack(rule.folds, rule.one_sided) if roles else "it has no unseen classes to rehearse for"
    if not why:
        return ""
    sentence = f"select: {cell.select} cannot choose anything on {cell.dataset}: {why}"
    return lacks.setdefault((cell.dataset, cell.select, "select"), sentence)


def _sentence(need: str) -> str:
    return LACKS.get(need, f"{{who}} needs {need}; {{dataset}} has none")
