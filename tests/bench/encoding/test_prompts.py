"""Class names through templates to one vector each, as CLIP does it."""

from __future__ import annotations

import numpy as np
import pytest
from replay import fixture
from tiny_encoder import (
    Folder,
    run,
    source,
)

from pzsl_bench.base.errors import UserError
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.encoder import Encoder
from pzsl_bench.encoding.prompts import class_texts, fill


def test_class_texts_are_clips_prompt_ensemble() -> None:

    numbers = fixture("prompt_ensemble")
    inputs, expected = numbers["inputs"], numbers["expected"]
    names, templates = inputs["class_names"], inputs["templates"]
    assert fill(names, templates) == expected["prompts"]
    texts = class_texts(lambda prompts: np.array(inputs["E"]), names, templates)
    np.testing.assert_allclose(texts, expected["weights"], atol=1e-7)


def test_a_template_without_a_place_for_the_name_is_an_error() -> None:
    with pytest.raises(UserError, match="a photo"):
        fill(["cat"], ["a photo"])


def test_underscores_in_names_are_spaces(tiny: Encoder) -> None:
    encoded, model = run(tiny, source(Folder(4))), tiny.load()
    rows = model.encode_texts(["a blue dot", "a photo of a blue dot."]).mean(0)
    np.testing.assert_allclose(encoded.texts[1], rows / np.linalg.norm(rows), atol=1e-6)
