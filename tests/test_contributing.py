"""The guide "Add a method in ten minutes", followed to the letter."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS, Batch, Gradient, Output, configure
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

GUIDE = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The only fenced block of a language."""
    [body] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(body)


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The guide's method as somebody's own package, installed as the guide says; gone after the test."""
    groups = tomllib.loads(block("toml"))["project"]["entry-points"]
    [(name, place)] = groups["pzsl_bench.methods"].items()
    module = place.partition(":")[0]
    file = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").touch()
    file.write_text(block("python"), encoding="utf-8")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pzsl_bench.methods]\n{name} = {place}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(METHODS, "found", dict(METHODS.found))
    yield name
    for loaded in [m for m in sys.modules if m.partition(".")[0] == module.partition(".")[0]]:
        del sys.modules[loaded]


def test_the_method_is_found_and_tells_its_facts(name: str) -> None:
    assert name in METHODS.names()
    info = configure(name, {}).info
    assert (info.name, info.title, info.family) == ("sharpened", "Sharpened", "pll")
    assert info.citation is not None
    assert info.deviations


def test_its_settings_are_checked_like_any_others(name: str) -> None:
    assert configure(name, {"power": 2}).power == 2.0  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="did you mean 'power'"):
        configure(name, {"powr": 2.0})
    with pytest.raises(UserError, match="must be above 0"):
        configure(name, {"power": 0.0})


def test_its_refined_weights_are_its_formula(name: str) -> None:
    method = configure(name, {"power": 2.0})
    assert isinstance(method, Gradient)
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    candidates = torch.tensor([[True, True, False], [True, True, True]])
    refined = method.refine(Output(logits), Batch(weights=candidates.float(), candidates=candidates))
    powers = logits.softmax(-1) ** 2 * candidates
    torch.testing.assert_close(refined, powers / powers.sum(-1, keepdim=True))


def test_it_trains_in_a_stack_whose_runs_differ_in_its_setting(name: str) -> None:
    toy = toy_problem()
    methods = [configure(name, {"power": power, "epochs": 8, "batch": 32}) for power in (1.0, 1.5, 3.0)]
    fitted = fit(methods, toy_studies(toy, [("flip", 0.3, seed) for seed in range(3)]))
    assert fitted.alive.all()
    assert fitted.weights is not None
    found = (fitted.weights.argmax(-1).numpy() == toy.train_truth).mean(-1)
    # Guessing among about 1 + 7 * 0.3 candidates finds a third.
    assert (found > 0.6).all()
    loss = fitted.curves["loss"]
    assert (loss[:, -1] < loss[:, 0]).all()


def test_the_guide_names_files_that_exist() -> None:
    root = Path(__file__).resolve().parents[1]
    named = set(re.findall(r"`((?:bench|methods|datasets|tests)/[\w/]+\.\w+)`", GUIDE))
    missing = {path for path in named if not (root / path).exists()}
    assert missing == {"methods/sharpened.py", "tests/methods/test_sharpened.py", "tests/parity/sharpened.json"}
    assert len(named) > 8
