"""An image that cannot be read harms no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_encoder import (
    Folder,
    picture,
    run,
    source,
)

from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.encode import BLOCK
from pzsl_bench.encoding.encoder import Encoder


def test_an_unreadable_image_is_reported_and_harms_no_other(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match=r"2 of 12 images cannot be read \(numbers 3, 7\)"):
        encoded = run(tiny, source(Folder(12, broken=(3, 7))))
    assert encoded.unreadable == (3, 7)
    assert np.isnan(encoded.features[[3, 7]]).all()
    model = tiny.load()
    good = [i for i in range(12) if i not in (3, 7)]
    np.testing.assert_allclose(encoded.features[good], model.encode_images([picture(i) for i in good]), atol=1e-6)


def test_real_files_that_are_cut_or_no_images_are_isolated(tiny: Encoder, tmp_path: Path) -> None:
    for i in range(6):
        picture(i, (32, 32)).save(tmp_path / f"{i}.png")
    raw = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "4.png").write_text("not an image")
    (tmp_path / "5.png").unlink()

    class Files:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int, /) -> Image.Image:
            return Image.open(tmp_path / f"{index}.png")

    with pytest.warns(UserWarning, match="3 of 6"):
        encoded = run(tiny, source(Files()))
    assert encoded.unreadable == (2, 4, 5)


def test_no_readable_image_at_all_is_still_no_crash(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match="3 of 3"):
        assert run(tiny, source(Folder(3, broken=(0, 1, 2)))).unreadable == (0, 1, 2)


def test_images_that_can_be_read_again_are_not_missing_for_ever(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match="cannot be read"):
        run(tiny, source(Folder(12, broken=tuple(range(12)))))
    with pytest.warns(UserWarning, match="can be read now"):
        encoded = run(tiny, source(Folder(12)))
    assert encoded.unreadable == () and not np.isnan(encoded.features).any()


def test_a_machine_out_of_memory_is_not_taken_for_broken_images(tiny: Encoder) -> None:
    class Hungry(Folder):
        def __getitem__(self, index: int, /) -> Image.Image:
            raise MemoryError

    with pytest.raises(MemoryError):
        run(tiny, source(Hungry(4)))


def test_images_that_are_drawn_together_give_the_same_features_one_by_one(tiny: Encoder) -> None:
    class Many(Folder):
        calls = 0

        def many(self, indices: list[int]) -> list[Image.Image]:
            self.calls += 1
            if len(self.broken) and set(self.broken) & set(indices):
                raise OSError("one of them is broken")
            return [picture(i) for i in indices]

    single, together = run(tiny, source(Folder(2 * BLOCK))), Many(2 * BLOCK)
    drawn = run(tiny, source(together, "drawn"))
    assert together.read == [] and together.calls == 2
    np.testing.assert_array_equal(drawn.features, single.features)
    with pytest.warns(UserWarning, match="1 of"):
        assert run(tiny, source(Many(2 * BLOCK, broken=(300,)), "half")).unreadable == (300,)
