"""The identity of a result: everything that determines it. And the names from which its random numbers come."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import MissingDataError
from pzsl_bench.contract import Method
from pzsl_bench.contract.heads import INPUT_VERSION, uses_input_reach
from pzsl_bench.contract.needs import OF_NAMES
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.encoding.crops import RECIPE
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.judging.tag_metrics import VERSION as TAG_METRICS
from pzsl_bench.planning.draws import search_ranges
from pzsl_bench.planning.offers import offers
from pzsl_bench.planning.options import Options
from pzsl_bench.problem.roles import Roles, roles_of
from pzsl_bench.records.cell import PROTOCOL, Cell
from pzsl_bench.selecting.rules import SELECTION
from pzsl_bench.synonyms.space import VERSION as SPACES
from pzsl_bench.synonyms.words import find_synonyms
from pzsl_bench.training.soft_labels import feed_facts


def cell_key(cell: Cell) -> str:
    """The name from which all random numbers of a cell's training come.

    The settings are not in it: two settings of a method are compared on the same initialisation and batches.
    """
    return f"{draw_key(cell)}|{cell.encoder}|{cell.method}"


def draw_key(cell: Cell) -> str:
    """The name that all methods share at one (dataset, ambiguity, rate, noise, seed).

    Without noise it is what it was before there was any, so that older results stand.
    """
    noise = f"|noise {cell.noise!r}" if AMBIGUITIES.get(cell.ambiguity).noisy else ""
    return f"{cell.dataset}|{cell.ambiguity}|{cell.rate!r}{noise}|{cell.seed}"


@dataclass(frozen=True)
class Facts:
    """What a plan must know of a (dataset, encoder)."""

    identity: dict[str, Any]
    """What identifies the data and the encoding."""
    offers: frozenset[str]
    """What methods and ambiguities may need and this pair can give."""
    task: str
    """`classes` or `tags`: what is asked of its images."""
    class_names: tuple[str, ...]
    seen: int
    """How many of them are seen."""
    unseen: int
    """How many are unseen."""
    roles: Roles | None
    """Who plays what in its rehearsals; None where there is nothing to rehearse for."""
    untunable: str
    """Why nothing may be chosen on it, as the end of a sentence; empty where it may."""
    ready_names: bool
    """Whether it brings the vectors of all names of its classes; they are part of its checksum."""


def dataset_facts(cell: Cell, options: Options, problems: list[str]) -> Facts | None:
    """Facts of the cell's data and encoding; None when one of them is not here."""
    try:
        data = find_dataset(cell.dataset, options.data)
        source = data.open()
        encoder = find_encoder(cell.encoder, cache=cache_root(options.cache))
        prompts = (source.templates,) if source.contexts is None else (source.templates, source.contexts)
        key_parts = (source.class_names, *prompts, source.seen, source.unseen, source.validation)
        identity = {
            "dataset_version": data.info.version,
            "dataset_checksum": source.checksum,
            "classes": f"{randomness.key(*key_parts):016x}",
            "encoder_fingerprint": encoder.fingerprint(),
        }
        if source.task == "tags":
            identity |= {"task": source.task, "tag_metrics": TAG_METRICS, "top": list(source.top)}
        return Facts(
            identity=identity,
            offers=offers(source, cell.encoder),
            task=source.task,
            class_names=source.class_names,
            seen=len(source.seen),
            unseen=len(source.unseen),
            roles=roles_of(cell.dataset, source),
            untunable=source.untunable,
            ready_names=source.names is not None,
        )
    except MissingDataError as missing:
        problems.append(str(missing))
        return None


def names_identity(
    cell: Cell, method: Method, facts: Facts, options: Options, fingerprints: dict[str, str]
) -> dict[str, Any]:
    """What identifies the names of classes, for a method that reads more than one of each.

    `fingerprints` remembers those of the names of each dataset.
    """
    if not method.needs & OF_NAMES & facts.offers:
        return {}
    if facts.ready_names:
        return {"synonyms": ["ready", SPACES]}
    if cell.dataset not in fingerprints:
        synonyms = find_synonyms(cell.dataset, facts.class_names, options.data, cache_root(options.cache))
        fingerprints[cell.dataset] = synonyms.fingerprint()
    return {"synonyms": [fingerprints[cell.dataset], SPACES]}


def head_identity(method: Method, facts: Facts) -> dict[str, Any]:
    """What identifies how a linear or MLP head reads features; empty where neither trains or refines labels."""
    heads = [getattr(method, "head", ""), "auto" if method.feed == "refined" else ""]
    aligned = "alignment" in facts.offers
    return {"head_input": INPUT_VERSION} if any(uses_input_reach(head, aligned) for head in heads) else {}


def result_identity(cell: Cell, method: Method, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that determines the result of a cell."""
    ambiguity, selection = AMBIGUITIES.get(cell.ambiguity), dict[str, Any]()
    if cell.select != "last":
        selection["select"] = [cell.select, SELECTION]
    if cell.tune:
        selection["tune"] = {"draws": cell.tune, "search": search_ranges(type(method), dict(cell.settings))}
    return {
        "protocol": PROTOCOL,
        "dataset": cell.dataset,
        "encoder": cell.encoder,
        **facts,
        "ambiguity": cell.ambiguity,
        "ambiguity_version": ambiguity.version,
        "rate": cell.rate,
        **({"noise": cell.noise} if ambiguity.noisy else {}),
        "method": cell.method,
        "method_version": method.info.version,
        "settings": {f.name: getattr(method, f.name) for f in fields(method)},
        "seed": cell.seed,
        **feed_facts(method.feed),
        **({"views": RECIPE} if "views" in method.needs else {}),
        **selection,
    }
