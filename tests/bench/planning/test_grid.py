from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.ambiguity import USUAL_NOISE
from pzsl_bench.planning.grid import Grid, load_grid
from pzsl_bench.planning.grid_file import grid_names
from pzsl_bench.records.cell import Cell
from pzsl_bench.reports.describe import description

BASE = """
datasets: [shapes]
ambiguities: [flip]
rates: [0.1, 0.3]
seeds: 2
methods: [naive, proden]
"""


def grid_of(tmp_path: Path, text: str, *overrides: str, name: str = "mine.yaml") -> Grid:
    path = tmp_path / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_grid(str(path), list(overrides))


def complaint(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        grid_of(tmp_path, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def base_with(**keys: object) -> str:
    return yaml.safe_dump({**yaml.safe_load(BASE), **keys})


def test_cells_are_the_product_of_the_axes_in_a_stable_order(tmp_path: Path) -> None:
    cells = grid_of(tmp_path, BASE).cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * 2
    assert cells[0] == Cell("shapes", "embedded", "flip", 0.1, "naive", (), 0)
    assert [(c.rate, c.method, c.seed) for c in cells[:5]] == [
        (0.1, "naive", 0),
        (0.1, "naive", 1),
        (0.1, "proden", 0),
        (0.1, "proden", 1),
        (0.3, "naive", 0),
    ]
    assert cells == grid_of(tmp_path, BASE).cells()


def test_the_default_encoder_is_the_datasets_own(tmp_path: Path) -> None:
    cells = grid_of(tmp_path, base_with(encoders=["default", "embedded"])).cells()
    assert {c.encoder for c in cells} == {"embedded"}
    assert len(cells) == 8, "the same encoder by two names is one axis value"


def test_the_file_names_the_grid_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert grid_of(tmp_path, BASE).name == "mine"
    assert grid_of(tmp_path, BASE, name="my first grid.yml").name == "my-first-grid"
    assert grid_of(tmp_path, base_with(name="other")).name == "other"
    assert "letters" in complaint(tmp_path, base_with(name="../up"))


def test_single_values_count_as_lists(tmp_path: Path) -> None:
    single = base_with(datasets="shapes", ambiguities="flip", rates=0.1, seeds=[4], methods="proden")
    assert grid_of(tmp_path, single).cells() == [Cell("shapes", "embedded", "flip", 0.1, "proden", (), 4)]


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [(3, [0, 1, 2]), ("2-4", [2, 3, 4]), ([0, 7], [0, 7]), (["0-1", 9], [0, 1, 9]), ("5", [5])],
)
def test_seeds_are_a_list_a_range_or_a_count(tmp_path: Path, seeds: object, expected: list[int]) -> None:
    assert grid_of(tmp_path, base_with(seeds=seeds)).axes.seeds == expected


def test_lists_under_a_method_are_axes_and_take_the_type_of_the_default(tmp_path: Path) -> None:
    entry = {"eszsl": {"reg_semantic": 10, "candidates_as": ["uniform", "random"]}}
    cells = grid_of(tmp_path, base_with(methods=[entry], rates=0.1, seeds=1)).cells()
    assert [c.settings for c in cells] == [
        (("candidates_as", "uniform"), ("reg_semantic", 10.0)),
        (("candidates_as", "random"), ("reg_semantic", 10.0)),
    ]
    assert all(isinstance(dict(c.settings)["reg_semantic"], float) for c in cells)


def test_methods_may_be_a_mapping_or_all(tmp_path: Path) -> None:
    mapping = grid_of(tmp_path, base_with(methods={"naive": None, "proden": {"lr": 0.01}}))
    assert {c.row for c in mapping.cells()} == {"naive", "proden(lr=0.01)"}
    everything = grid_of(tmp_path, base_with(methods="all"))
    assert {"clip_zero_shot", "naive", "oracle", "proden", "eszsl"} <= {c.method for c in everything.cells()}


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    text = BASE.replace("[0.1, 0.3]", "[1e-1]").replace("[naive, proden]", "[proden: {lr: 5e-3}]")
    cell = grid_of(tmp_path, text).cells()[0]
    assert cell.rate == 0.1
    assert cell.settings == (("lr", 0.005),)


def test_exclude_takes_out_what_matches_every_key(tmp_path: Path) -> None:
    full = set(grid_of(tmp_path, BASE).cells())
    left = set(grid_of(tmp_path, base_with(exclude=[{"rate": 0.3, "method": "proden"}])).cells())
    assert full - left == {c for c in full if c.rate == 0.3 and c.method == "proden"}
    several = grid_of(tmp_path, base_with(exclude=[{"seed": 1}, {"rate": [0.1, 0.3], "method": "naive"}]))
    assert {(c.method, c.seed) for c in several.cells()} == {("proden", 0)}


def test_exclude_knows_defaults_of_settings_and_of_encoders(tmp_path: Path) -> None:
    methods = ["eszsl", {"eszsl": {"candidates_as": "random"}}]
    uniform = {"method": "eszsl", "settings": {"candidates_as": "uniform"}, "encoder": "default"}
    left = grid_of(tmp_path, base_with(methods=methods, exclude=[uniform]))
    assert {c.row for c in left.cells()} == {"eszsl(candidates_as=random)"}


def test_include_adds_points_and_missing_keys_take_the_axes(tmp_path: Path) -> None:
    more = grid_of(tmp_path, base_with(include=[{"rate": 0.9, "method": "proden"}])).cells()
    assert [(c.rate, c.method, c.seed) for c in more[8:]] == [(0.9, "proden", 0), (0.9, "proden", 1)]
    settings_axis = {"method": "eszsl", "settings": {"candidates_as": ["random", "refined"]}, "seed": 0}
    rows = {c.row for c in grid_of(tmp_path, base_with(include=[settings_axis])).cells()[8:]}
    assert rows == {"eszsl(candidates_as=random)", "eszsl(candidates_as=refined)"}


def test_include_without_settings_means_the_grids_own_row(tmp_path: Path) -> None:
    content = base_with(methods=[{"proden": {"lr": 0.01}}], include=[{"rate": 0.9, "method": ["proden", "naive"]}])
    assert {c.row for c in grid_of(tmp_path, content).cells() if c.rate == 0.9} == {"proden(lr=0.01)", "naive"}


def test_include_brings_back_what_exclude_took_and_doubles_nothing(tmp_path: Path) -> None:
    both = base_with(exclude=[{"rate": 0.3}], include=[{"rate": [0.1, 0.3], "method": "naive"}])
    cells = grid_of(tmp_path, both).cells()
    assert len(cells) == len(set(cells)) == 6
    assert {c.method for c in cells if c.rate == 0.3} == {"naive"}


NOISY = {"ambiguities": ["flip", "flip_noisy"], "rates": 0.3, "seeds": 1, "methods": "naive"}


def ambiguities(grid: Grid) -> list[tuple[str, float]]:
    return [(cell.ambiguity, cell.noise) for cell in grid.cells()]


def test_noise_is_an_axis_of_those_ambiguities_that_have_some(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, base_with(**NOISY, noise=[0, 0.1, 0.3]))
    assert ambiguities(grid) == [("flip", 0.0), *(("flip_noisy", noise) for noise in (0.0, 0.1, 0.3))]
    assert ambiguities(grid_of(tmp_path, base_with(**NOISY, noise=0.2))) == [("flip", 0.0), ("flip_noisy", 0.2)]
    assert ambiguities(grid_of(tmp_path, base_with(**NOISY), "noise=[0.4]")) == [("flip", 0.0), ("flip_noisy", 0.4)]


def test_without_the_axis_an_ambiguity_with_noise_has_the_usual_one(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, base_with(**NOISY))
    assert ambiguities(grid) == [("flip", 0.0), ("flip_noisy", USUAL_NOISE)]
    assert grid.resolved()["noise"] == [USUAL_NOISE]
    assert "noise" not in grid_of(tmp_path, BASE).resolved()
    assert f"where a grid names none, {USUAL_NOISE}" in description("flip_noisy")


def test_points_may_name_a_noise(tmp_path: Path) -> None:
    more = base_with(
        **NOISY, noise=[0.1, 0.2], exclude={"noise": 0.2}, include={"ambiguity": "semantic_noisy", "noise": 0.4}
    )
    assert ambiguities(grid_of(tmp_path, more)) == [("flip", 0.0), ("flip_noisy", 0.1), ("semantic_noisy", 0.4)]
    beside = base_with(include={"ambiguity": "flip_noisy", "rate": 0.1, "method": "naive", "seed": 0})
    for text, noise in ((beside, USUAL_NOISE), (beside + "noise: 0.3\n", 0.3)):
        cells = grid_of(tmp_path, text).cells()
        assert [c.noise for c in cells] == [0.0] * 8 + [noise]
        again = grid_of(tmp_path, yaml.safe_dump(grid_of(tmp_path, text).resolved()), name="again.yaml")
        assert again.cells() == cells


def test_noise_without_an_ambiguity_that_has_some_is_a_mistake(tmp_path: Path) -> None:
    names = "ambiguities with noise: flip_noisy, semantic_noisy"
    assert complaint(tmp_path, base_with(noise=[0.1])) == f"mine.yaml: noise: flip has no noise; {names}"
    assert complaint(tmp_path, BASE, "noise=0.1") == f"--set: noise: flip has no noise; {names}"
    point = {"ambiguity": ["flip", "pair"], "noise": 0.1}
    message = complaint(tmp_path, base_with(**NOISY, include=[{"rate": 0.5}, point]))
    assert message == f"mine.yaml: include[2].noise: flip, pair have no noise; {names}"


def test_rules_of_selection_are_an_axis_and_draws_are_for_the_whole_grid(tmp_path: Path) -> None:
    cells = grid_of(tmp_path, base_with(select=["covering", "oracle"], tune={"draws": 5}, rates=0.1, seeds=1)).cells()
    assert [c.row for c in cells] == [
        "naive [covering, 5 draws]",
        "naive [oracle, 5 draws]",
        "proden [covering, 5 draws]",
        "proden [oracle, 5 draws]",
    ]


def test_a_point_may_choose_in_its_own_way(tmp_path: Path) -> None:
    tuned = {"method": "proden", "select": "covering", "tune": 5}
    more = grid_of(tmp_path, base_with(include=[tuned])).cells()[8:]
    assert {c.row for c in more} == {"proden [covering, 5 draws]"}
    both = base_with(select=["last", "mean10"], exclude=[{"method": "naive", "select": "mean10"}])
    assert {c.row for c in grid_of(tmp_path, both).cells()} == {"naive", "proden", "proden [mean10]"}


def test_what_has_nothing_to_choose_stands_in_the_grid_once_as_it_is(tmp_path: Path) -> None:
    methods = ["clip_zero_shot", "eszsl", "proden"]
    cells = grid_of(tmp_path, base_with(methods=methods, select=["last", "covering"], rates=0.1, seeds=1)).cells()
    assert [c.row for c in cells] == ["clip_zero_shot", "eszsl", "proden", "proden [covering]"]


def test_a_grid_that_is_shown_says_what_its_rules_mean(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(base_with(select="covering", tune=5), encoding="utf-8")
    shown = description(str(path))
    assert "covering (epoch and draw with the best covering rate" in shown
    assert "proden [covering, 5 draws]" in shown


def test_a_mistake_in_select_on_the_command_line_is_told_as_one(tmp_path: Path) -> None:
    assert complaint(tmp_path, BASE, "select=rehearsal").startswith("--set: tune: select: rehearsal chooses")


def test_the_command_line_wins(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, BASE, "rates=[0.7]", "seeds=3-4", "methods.proden.lr=[0.1,1e-2]")
    assert grid.axes.rates == [0.7]
    assert grid.axes.seeds == [3, 4]
    assert {c.row for c in grid.cells()} == {"naive", "proden(lr=0.1)", "proden(lr=0.01)"}
    assert {c.row for c in grid_of(tmp_path, BASE, "methods=[eszsl]").cells()} == {"eszsl"}
    assert "proden(epochs=2)" in {
        c.row for c in grid_of(tmp_path, base_with(methods="all"), "methods.proden.epochs=2").cells()
    }


def test_a_mistake_on_the_command_line_is_told_as_one(tmp_path: Path) -> None:
    assert complaint(tmp_path, BASE, "rates=[2]").startswith("--set: rates: 2 is not between 0 and 1")
    assert "did you mean 'rates'" in complaint(tmp_path, BASE, "rate=[0.1]")
    assert "did you mean 'lr'" in complaint(tmp_path, BASE, "methods.proden.lrr=0.1")
    assert "not in this grid" in complaint(tmp_path, BASE, "methods.eszsl.reg_feature=1")
    assert "did you mean 'proden'" in complaint(tmp_path, BASE, "methods.prodn.lr=1")
    assert "KEY=VALUE" in complaint(tmp_path, BASE, "rates")
    assert "KEY=VALUE" in complaint(tmp_path, BASE, "=3")
    assert "methods.METHOD.SETTING" in complaint(tmp_path, BASE, "rates.0=0.1")
    assert "not YAML" in complaint(tmp_path, BASE, "rates=[0.1")
    assert "is empty" in complaint(tmp_path, BASE, "rates=")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"rate": [0.1]}, "unknown key 'rate'; did you mean 'rates'?"),
        ({"methods": ["prodne"]}, "methods: unknown method 'prodne'; did you mean 'proden'?"),
        ({"methods": [{"proden": {"lrate": 1}}]}, "unknown setting of method 'proden': 'lrate'"),
        ({"methods": [{"proden": {"lr": "fast"}}]}, "proden.lr: 'fast' is not a number"),
        ({"methods": [{"proden": {"lr": []}}]}, "proden.lr: is empty"),
        ({"methods": [{"proden": 3}]}, "'proden' needs 'setting: value' pairs"),
        ({"methods": [7]}, "7 is not the name of a method"),
        ({"methods": ["naive", "naive"]}, "'naive' is there twice"),
        ({"methods": [{"eszsl": {"candidates_as": ["random", "random"]}}]}, "is there twice"),
        ({"methods": []}, "methods: is empty"),
        ({"methods": None}, "methods: is empty"),
        ({"datasets": ["shaps"]}, "unknown dataset 'shaps'; did you mean 'shapes'?"),
        ({"datasets": ["shapes:splt1"]}, "did you mean 'split1'?"),
        ({"datasets": [3]}, "3 is not a name"),
        ({"datasets": ["shapes", "shapes"]}, "'shapes' is there twice"),
        ({"ambiguities": ["flp"]}, "unknown ambiguity 'flp'; did you mean 'flip'?"),
        ({"rates": [1.5]}, "rates: 1.5 is not between 0 and 1"),
        ({"rates": [-0.1]}, "-0.1 is not between 0 and 1"),
        ({"rates": [float("nan")]}, "nan is not between 0 and 1"),
        ({"rates": [True]}, "True is not a number between 0 and 1"),
        ({"rates": ["often"]}, "'often' is not a number between 0 and 1"),
        ({"rates": []}, "rates: is empty"),
        ({"rates": [0.1, 0.1]}, "0.1 is there twice"),
        ({"rates": {"from": 0.1}}, "is not a number between 0 and 1"),
        ({"noise": [1.0]}, "noise: 1.0 is not from 0 to below 1"),
        ({"noise": -0.1}, "noise: -0.1 is not from 0 to below 1"),
        ({"noise": [float("nan")]}, "noise: nan is not from 0 to below 1"),
        ({"noise": "much"}, "noise: 'much' is not a number from 0 to below 1"),
        ({"noise": [True]}, "True is not a number from 0 to below 1"),
        ({"noise": []}, "noise: is empty"),
        ({"noise": [0.1, 0.1]}, "0.1 is there twice"),
        ({"include": [{"noise": 2}]}, "include[1].noise: 2 is not from 0 to below 1"),
        ({"seeds": 0}, "0 is not a count of seeds"),
        ({"seeds": True}, "True is not a seed"),
        ({"seeds": -2}, "-2 is not a count of seeds"),
        ({"seeds": [-2]}, "-2 is not a seed"),
        ({"seeds": "4-0"}, "'4-0' is not a range"),
        ({"seeds": "0-99999999999"}, "is not a range of 1 to"),
        ({"seeds": [1.5]}, "1.5 is not a seed"),
        ({"seeds": ["0-2", 1]}, "1 is there twice"),
        ({"encoders": []}, "encoders: is empty"),
        ({"select": "coverin"}, "select: unknown rule of select 'coverin'; did you mean 'covering'?"),
        ({"select": "mean0"}, "unknown rule of select 'mean0'"),
        ({"select": []}, "select: is empty"),
        ({"select": ["last", "last"]}, "'last' is there twice"),
        ({"select": "rehearsal"}, "say how many, for example tune: 20"),
        ({"tune": 20}, "write select: covering or approximated or rehearsal or validation (or oracle"),
        ({"tune": 20, "select": ["covering", "mean10"]}, "select: mean10 does not"),
        ({"tune": 1, "select": "covering"}, "tune: 1 draw is the settings as they are"),
        ({"tune": -3, "select": "covering"}, "-3 is not a number of draws"),
        ({"tune": True, "select": "covering"}, "True is not a number of draws"),
        ({"tune": {"draw": 3}, "select": "covering"}, "such as 20 or {draws: 20}"),
        ({"include": [{"method": "proden", "tune": 4}]}, "include: tune needs a rule"),
        ({"include": [{"method": "proden", "select": "rehearsal"}]}, "include: select: rehearsal chooses"),
        ({"encoders": [None]}, "None is not a name"),
        ({"include": [{"rates": 0.1}]}, "include[1]: unknown key 'rates'; did you mean 'rate'?"),
        ({"exclude": [{"rate": 7}]}, "exclude[1].rate: 7 is not between 0 and 1"),
        ({"exclude": [{"method": "naiv"}]}, "exclude[1].method: unknown method 'naiv'"),
        ({"exclude": [{"settings": {"lr": 1}}]}, "settings need a 'method' beside them"),
        ({"exclude": [{"method": "proden", "settings": {"lrr": 1}}]}, "did you mean 'lr'?"),
        ({"exclude": ["naive"]}, "exclude[1]: write keys such as"),
        ({"include": "naive"}, "include: write a list"),
        ({"exclude": [{"method": "proden", "settings": 3}]}, "exclude[1].settings: write 'setting: value'"),
        ({"exclude": [{"seed": [0, 1]}]}, "exclude removes every cell"),
        ({"about": [1]}, "about: is not text"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_nearest_right_thing(
    tmp_path: Path, keys: dict[str, object], reason: str
) -> None:
    message = complaint(tmp_path, base_with(**keys))
    assert reason in message
    assert message.startswith("mine.yaml: ")


def test_a_missing_axis_is_named(tmp_path: Path) -> None:
    assert "mine.yaml: rates: is missing" in complaint(tmp_path, BASE.replace("rates: [0.1, 0.3]", ""))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("datasets: [shapes\nrates: [0.1]", "line 2: not YAML"),
        ("datasets: [shapes]\n\trates: 1", "line 2: not YAML"),
        (BASE + "rates: [0.5]\n", "key 'rates' is there twice"),
        ("", "is empty"),
        ("- shapes\n- proden\n", "holds a list"),
        ("just words", "holds a str"),
        ("when: 2001-99-99", "not YAML"),
        ("a: !!python/object:os.system {}", "not YAML"),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_not_a_grid_is_refused_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_grid(str(path))
    assert reason in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_directory_a_missing_file_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory"):
        load_grid(str(tmp_path))
    with pytest.raises(UserError, match=r"no grid file .*quik.yaml.* did you mean 'quick'"):
        load_grid(str(tmp_path / "quik.yaml"))
    with pytest.raises(UserError, match="unknown grid 'smoek'; did you mean 'smoke'"):
        load_grid("smoek")
    (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="not a text file"):
        load_grid(str(tmp_path / "bin.yaml"))
    with pytest.raises(UserError, match="cannot read"):
        load_grid("nul\0byte")


def test_a_shipped_grid_wins_over_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_grid("smoke").name == "smoke"


@pytest.mark.parametrize("name", grid_names())
def test_every_shipped_grid_loads_and_says_what_it_is_for(name: str) -> None:
    grid = load_grid(name)
    assert grid.name == name
    assert grid.about


def test_the_shipped_grids_have_their_sizes() -> None:
    assert {"smoke", "quick", "all", "paper"} <= set(grid_names())
    assert len(load_grid("smoke").cells()) <= 4
    quick = load_grid("quick").cells()
    assert {c.ambiguity for c in quick} == {"flip", "semantic"}
    assert {c.rate for c in quick} == {0.1, 0.3, 0.5}
    assert {c.seed for c in quick} == {0, 1, 2}
    assert len({c.row for c in quick}) <= 12
    assert {c.dataset for c in load_grid("paper").cells()} == {"shapes", "shapes:split1", "shapes:split2"}


@pytest.mark.parametrize("name", grid_names())
def test_a_resolved_grid_is_a_grid_of_the_same_cells(name: str, tmp_path: Path) -> None:
    grid = load_grid(name, ["seeds=0-3"])
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(grid.resolved(), sort_keys=False), encoding="utf-8")
    again = load_grid(str(path))
    assert again.name == name
    assert again.cells() == grid.cells()
    assert again.resolved() == grid.resolved()


rates = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=1, max_size=4, unique=True)
points = st.fixed_dictionaries(
    {},
    optional={
        "rate": st.sampled_from([0.0, 0.1, 0.5]),
        "ambiguity": st.sampled_from(["flip", "pair"]),
        "method": st.sampled_from(["naive", "eszsl", "proden"]),
        "seed": st.integers(0, 3),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=rates,
    seeds=st.integers(1, 3),
    include=st.lists(points, max_size=2),
    exclude=st.lists(points, max_size=2),
)
def test_no_cell_is_lost_or_doubled_by_include_and_exclude(
    tmp_path: Path,
    rates: list[float],
    seeds: int,
    include: list[dict[str, object]],
    exclude: list[dict[str, object]],
) -> None:
    plain = base_with(rates=rates, seeds=seeds, ambiguities=["flip", "pair"])
    full = grid_of(tmp_path, plain).cells()
    out = [c for c in full if any(all(getattr(c, k) == v for k, v in p.items()) for p in exclude)]
    text = base_with(rates=rates, seeds=seeds, ambiguities=["flip", "pair"], include=include, exclude=exclude)
    if len(out) == len(full) and not include:
        assert "every cell" in complaint(tmp_path, text)
        return
    cells = grid_of(tmp_path, text).cells()
    assert len(cells) == len(set(cells))
    assert set(full) - set(out) <= set(cells)
    for cell in cells:
        is_left = cell in full and cell not in out
        assert is_left or any(all(getattr(cell, k) == v for k, v in p.items()) for p in include)
