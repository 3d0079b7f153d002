"""Identities: what is without noise is called what it was before there was any."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from pzsl_bench.base.identity import identity_hash
from pzsl_bench.contract import configure
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.planning.identity import cell_key, draw_key, result_identity
from pzsl_bench.records.cell import PROTOCOL, Cell

CELL = Cell("shapes", "embedded", "flip", 0.3, "proden", (), 1)
NOISY = replace(CELL, ambiguity="flip_noisy", noise=0.1)


@pytest.mark.parametrize("name", [name for name, rule in AMBIGUITIES.all().items() if not rule.noisy])
def test_without_noise_identity_and_random_numbers_are_what_they_were(name: str) -> None:
    cell, method = replace(CELL, ambiguity=name), configure("proden", {})
    assert draw_key(cell) == f"shapes|{name}|0.3|1"
    assert cell_key(cell) == f"shapes|{name}|0.3|1|embedded|proden"
    assert result_identity(cell, method, {"dataset_version": 1}) == {
        "protocol": PROTOCOL,
        "dataset": "shapes",
        "encoder": "embedded",
        "dataset_version": 1,
        "ambiguity": name,
        "ambiguity_version": 1,
        "rate": 0.3,
        "method": "proden",
        "method_version": method.info.version,
        "settings": asdict(method),
        "seed": 1,
    }


def test_cells_that_differ_in_noise_are_different_results_with_random_numbers_of_their_own() -> None:
    cells = [replace(NOISY, noise=noise) for noise in (0.0, 0.1, 0.3)]
    method = configure("proden", {})
    identities = [result_identity(cell, method, {}) for cell in cells]
    assert [identity["noise"] for identity in identities] == [0.0, 0.1, 0.3]
    assert len({identity_hash(identity) for identity in identities}) == 3
    assert [draw_key(cell) for cell in cells] == [
        "shapes|flip_noisy|0.3|noise 0.0|1",
        "shapes|flip_noisy|0.3|noise 0.1|1",
        "shapes|flip_noisy|0.3|noise 0.3|1",
    ]
