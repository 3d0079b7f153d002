"""What a dataset can give through an encoder, and what a cell needs that it cannot give."""

from __future__ import annotations

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Method
from pzsl_bench.contract.needs import OF_NAMES
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.wording import split_wording
from pzsl_bench.planning.tasks import misfit
from pzsl_bench.records.cell import Cell

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
"""How a need that a dataset cannot meet is told."""


def offers(source: Source, encoder: str) -> frozenset[str]:
    """What methods and ambiguities may need and this dataset has, through the encoder of that name."""
    read = source.texts is None and encoder != "none"
    has = {
        "texts": source.texts is not None or encoder != "none",
        "alignment": encoder != "none" or source.is_aligned,
        "text tower": read,
        "views": source.has_views,
        "candidates": source.candidates is not None,
    }
    # Other words for a class are no other names of it, and have none for them.
    names = OF_NAMES if read and split_wording(encoder)[1] is None else frozenset()
    return names | {what for what, here in has.items() if here}


def lack_of(
    cell: Cell, method: Method, task: str, offered: frozenset[str], known: dict[tuple[str, str, str], str]
) -> str:
    """The first thing that the cell needs and its dataset lacks, told once for each (dataset, method); or nothing."""
    if reason := misfit(cell, task):
        return known.setdefault((cell.dataset, reason, "task"), reason)
    ambiguity = AMBIGUITIES.get(cell.ambiguity)
    if "candidates" in ambiguity.needs - offered:
        others = ", ".join(name for name in AMBIGUITIES.names() if name != ambiguity.name)
        raise UserError(
            f"dataset '{cell.dataset}' comes with true labels, not with candidate sets, so ambiguity"
            f" '{ambiguity.name}' has nothing to give: use one of {others}"
        )
    asked = ((f"ambiguity '{ambiguity.name}'", cell.ambiguity, ambiguity.needs), (cell.row, cell.method, method.needs))
    for who, name, needs in asked:
        # Without texts there is no talk of their space: what comes later in the alphabet is the plainer lack.
        for what in sorted(needs - offered, reverse=True):
            return known.setdefault((cell.dataset, name, what), _sentence(what).format(who=who, dataset=cell.dataset))
    return ""


def _sentence(what: str) -> str:
    return LACKS.get(what, f"{{who}} needs {what}; {{dataset}} has none")
