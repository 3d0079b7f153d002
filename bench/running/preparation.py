"""Encode what the stacks will need before they are trained: each dataset through each encoder, once."""

from __future__ import annotations

from collections.abc import Iterable

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract.needs import EXTRAS, OF_NAMES
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.open_clip_tower import ClipTower
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Planned
from pzsl_bench.running.listener import Listener
from pzsl_bench.synonyms.name_vectors import every_name
from pzsl_bench.training.memory import pick_device

Place = tuple[str, str, tuple[str, ...]]
"""A dataset, an encoder, and the needs that are extra work to encode, such as augmented views of the images."""


def place_of(planned: Planned) -> Place:
    """The dataset, encoder and extras of a cell."""
    return planned.cell.dataset, planned.cell.encoder, tuple(sorted(planned.method.needs & EXTRAS))


def encode_all(todo: Iterable[Planned], options: Options, listener: Listener) -> set[Place]:
    """Encode every dataset through every encoder, with views, names and text tower where cells need them.

    Done once, so that workers find all of it in the cache. Returns the places that cannot be encoded on this machine.
    """
    cache, device = cache_root(options.cache), str(pick_device(options.device))
    places, blocked = sorted({place_of(p) for p in todo}), set[Place]()
    for place in places:
        # The plain features of a place come first in the order; where they fail, its extras are blocked, too.
        if place in blocked:
            continue
        dataset, spec, extras = place
        try:
            source, encoder = find_dataset(dataset, options.data).open(), find_encoder(spec, cache=cache)
            encoded = encode(
                source,
                dataset,
                encoder,
                cache=cache,
                device=device,
                download=options.download,
                progress=listener.encoding,
                # Ready features come with their views: there is nothing to encode.
                views="views" in extras and source.images is not None,
            )
            if OF_NAMES & set(extras):
                every_name(
                    source, dataset, encoder, encoded.texts, options.data, cache, device, download=options.download
                )
            if "text tower" in extras:
                # Features may come from the cache; the tower needs the weights themselves.
                ClipTower(encoder.load(device, options.download), spec)
        except UserError as error:
            blocked |= {p for p in places if p[:2] == place[:2] and set(p[2]) >= set(extras)}
            if len(blocked) == len(places):
                raise
            extras_of = "".join(f"{extra} of " for extra in extras)
            listener.note(f"{extras_of}{dataset} with {spec} left out: {error}")
            continue
        if encoded.unreadable and not (extras and (dataset, spec, ()) in places):
            listener.note(f"{dataset}: {len(encoded.unreadable)} unreadable image(s) left out")
    return blocked
