from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pzsl_bench.cli.main import app


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, ["retrieve", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def features(tmp_path: Path) -> tuple[str, ...]:
    """A dataset of eight images with ready features and texts, and the words that name it."""
    np.savez(
        tmp_path / "toy.npz",
        features=np.eye(8) + 0.1,
        labels=np.arange(8) % 4,
        class_names=["ant", "bee", "cat", "dog"],
        texts=np.eye(4, 8) + 0.1,
        unseen=["dog"],
    )
    return ("--dataset", "features:toy", "--data", str(tmp_path), "--cache", str(tmp_path / "cache"))


@pytest.mark.slow
def test_scenes_are_found_by_a_tag_and_by_free_words_and_drawn_on_a_sheet(tmp_path: Path):
    place = ("--dataset", "scenes", "--cache", str(tmp_path / "cache"), "--device", "cpu")
    out = tmp_path / "sheet.png"
    result = call(*place, "--tag", "teal", "--top", "10", "--contrast", "--out", str(out))
    assert result.exit_code == 0
    assert result.stdout.count("yes") >= 6
    assert "of these 10 are 'teal', as are 29 % of all 3000" in result.stdout
    assert "sheet:" in result.stderr
    with Image.open(out) as sheet:
        assert sheet.size[0] > 800
    free = call(*place, "--tag", "a dotted teal ring", "--top", "3")
    assert free.exit_code == 0
    assert len(free.stdout.splitlines()) == 4


def test_of_a_dataset_of_features_the_numbers_of_the_images_are_shown(features: tuple[str, ...]):
    result = call(*features, "--tag", "bee", "--top", "2")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:2] == ["1", "1"]
    assert rows[1][-2:] == ["yes", "bee"]
    assert "as are 25 % of all 8" in result.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--tag", "bee", "--out", "sheet.png"), "brings features only, so there are no images to draw"),
        (("--tag", "bee", "--out", "sheet.txt"), "must end in .png or .jpg"),
        (("--tag", "wolf"), "other words need an encoder to read them"),
        (("--tag", ""), "the text to look for is empty"),
        (("--tag", "bee", "--encoder", "embeded"), "did you mean 'embedded'"),
        (("--tag", "bee", "--device", "gpu"), "--device 'gpu' is not one of"),
    ],
)
def test_what_cannot_be_found_is_told_in_one_line(features: tuple[str, ...], words: tuple[str, ...], reason: str):
    result = call(*features, *words)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_dataset_suggests_the_nearest_one():
    result = call("--dataset", "scene", "--tag", "teal")
    assert result.exit_code == 2
    assert "did you mean 'scenes'" in result.stderr
