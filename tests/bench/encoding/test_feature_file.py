"""Arrays on disk: resumed where they stopped, checked before they are read, made by one process at a time."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import (
    SUPPORT,
    Folder,
    all_train,
    by_hand,
    picture,
    run,
    source,
)

from pzsl_bench.base.errors import UserError
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.crops import VIEWS
from pzsl_bench.encoding.encode import BLOCK, encode
from pzsl_bench.encoding.encoder import Encoder


def test_an_interrupted_extraction_resumes_at_the_last_complete_block(tiny: Encoder) -> None:
    total = 4 * BLOCK + 10
    whole = run(tiny, source(Folder(total), "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(total, stop_at=2 * BLOCK + 5)))
    images = Folder(total)
    resumed = run(tiny, source(images))
    assert sorted(images.read) == list(range(2 * BLOCK, total))
    np.testing.assert_array_equal(resumed.features, whole.features)


def test_a_half_written_block_is_done_again(tiny: Encoder) -> None:
    total = 3 * BLOCK
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(total, stop_at=2 * BLOCK + 5)))
    part = next(tiny.cache.glob("features/*/features.part"))
    with part.open("r+b") as file:
        file.truncate(part.stat().st_size - 30)
    images = Folder(total)
    resumed = run(tiny, source(images))
    assert sorted(images.read) == list(range(BLOCK, total))
    model = tiny.load()
    np.testing.assert_allclose(
        resumed.features[-3:], model.encode_images([picture(i) for i in range(total - 3, total)]), atol=1e-6
    )


def test_a_part_of_another_shape_is_not_resumed(tiny: Encoder) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(3 * BLOCK, stop_at=2 * BLOCK + 5)))
    next(tiny.cache.glob("features/*/features.part")).write_bytes(b"\x93NUMPY rubbish")
    images = Folder(3 * BLOCK)
    run(tiny, source(images))
    assert len(images.read) == 3 * BLOCK


def test_a_killed_extraction_leaves_no_lock_and_loses_no_finished_block(tiny: Encoder, tmp_path: Path) -> None:
    total = 4 * BLOCK
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tiny_encoder import Folder, source, run\n"
        "from pzsl_bench.encoding.encode import BLOCK\n"
        "from pzsl_bench.encoding.encoder import find_encoder\n"
        "from pathlib import Path\n"
        "def die(what, done, total):\n"
        "    if done == 2 * BLOCK: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(find_encoder(sys.argv[3], Path(sys.argv[2])), source(Folder(4 * BLOCK)), progress=die)\n"
    )
    args = [sys.executable, "-c", code, SUPPORT, str(tiny.cache), tiny.spec]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    images = Folder(total)
    run(tiny, source(images))
    assert sorted(images.read) == list(range(2 * BLOCK, total))


@pytest.mark.parametrize("harm", ["truncate", "header", "content", "marker", "meta", "remove"])
def test_a_damaged_cache_is_noticed_told_and_made_again(tiny: Encoder, harm: str) -> None:
    first = np.array(run(tiny, source(Folder(30))).features)
    place = next(tiny.cache.glob("features/*/done.json")).parent
    array = place / "features.npy"
    raw = bytearray(array.read_bytes())
    if harm == "truncate":
        array.write_bytes(raw[:-100])
    elif harm == "header":
        array.write_bytes(b"\0" * 80 + raw[80:])
    elif harm == "content":
        array.write_bytes(raw[:-64] + b"\0" * 64)
    elif harm == "marker":
        (place / "done.json").write_text("{")
    elif harm == "meta":
        (place / "meta.json").write_text('{"key": {}}')
    else:
        array.unlink()
    images = Folder(30)
    with pytest.warns(UserWarning, match="damaged"):
        again = run(tiny, source(images))
    assert len(images.read) == 30
    np.testing.assert_array_equal(again.features, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tiny, source(Folder(30)))


def test_interrupted_views_resume_at_the_last_complete_block(tiny: Encoder) -> None:
    total = 3 * BLOCK + 10
    run(tiny, all_train(Folder(total)))
    with pytest.raises(KeyboardInterrupt):
        run(tiny, all_train(Folder(total, stop_at=2 * BLOCK + 5)), views=True)
    part = next(tiny.cache.glob("views/*/features.part"))
    assert part.stat().st_size >= 4 * 12 * VIEWS * 2 * BLOCK
    images, steps = Folder(total), []
    encoded = run(tiny, all_train(images), views=True, progress=lambda *step: steps.append(step))
    assert sorted(images.read) == list(range(2 * BLOCK, total))
    assert steps[0] == ("encoding 4 views of dots", 2 * BLOCK, total)
    assert steps[-1] == ("encoding 4 views of dots", total, total)
    checked = [0, 2 * BLOCK - 1, 2 * BLOCK, total - 1]
    assert encoded.views is not None
    np.testing.assert_allclose(encoded.views[:, checked], by_hand(tiny, checked), atol=1e-5)


def test_two_processes_that_extract_at_once_end_with_one_sound_array(tiny: Encoder, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tiny_encoder import Folder, source, run\n"
        "from pzsl_bench.encoding.encode import BLOCK\n"
        "from pzsl_bench.encoding.encoder import find_encoder\n"
        "from pathlib import Path\n"
        "images = Folder(6 * BLOCK)\n"
        "run(find_encoder(sys.argv[3], Path(sys.argv[2])), source(images))\n"
        "print(len(images.read))\n"
    )
    args = [sys.executable, "-c", code, SUPPORT, str(tiny.cache), tiny.spec]
    workers = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = sorted(int(w.communicate()[0]) for w in workers)
    assert counts == [0, 6 * BLOCK]
    images = Folder(6 * BLOCK)
    encoded = run(tiny, source(images))
    assert images.read == [] and not np.isnan(encoded.features).any()


def test_a_cache_that_takes_no_files_is_one_line(tiny: Encoder, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match="cannot write to the cache"):
        encode(source(Folder(4)), "dots", tiny, cache=blocked)
