"""The text tower behind learned tokens makes what open_clip makes of the same words; other towers are refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.func import vmap

from pzsl_bench.base.errors import UserError
from pzsl_bench.encoding import torchvision_shim
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.open_clip_tower import ClipTower
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.toy import toy_problem
from pzsl_bench.running.opened import with_tower

torchvision_shim.declare_missing_operators()
from open_clip.model import CLIP, CustomTextCLIP  # noqa: E402

EMBEDDED: Any = find_encoder("embedded").load()
TOWER = ClipTower(EMBEDDED, "embedded")
NAMES = ("circle", "striped_pink oval", "Red star", "checkered orange oval", "x")
END = 837
VISION = {"layers": 1, "width": 32, "head_width": 16, "image_size": 16, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": END + 1, "width": 24, "heads": 3, "layers": 3}


def problem_of(*names: str, unseen: int = 1) -> Problem:
    toy = toy_problem(seen=len(names) - unseen, unseen=unseen, per_class=2)
    return replace(toy, class_names=names)


def encode(tower: ClipTower, context: torch.Tensor, names: tuple[str, ...] = NAMES) -> torch.Tensor:
    return tower.encode(context, tower.names(tower.tokens(names), len(context)))


def words(model: Any, text: str) -> torch.Tensor:
    """Token embeddings of a text without its start and end."""
    tokens = EMBEDDED.tokenizer([text])[0]
    embedding: torch.nn.Embedding = getattr(model, "text", model).token_embedding
    return embedding(tokens[1 : int(tokens.argmax())]).detach()


def test_a_context_of_plain_words_gives_the_ordinary_text_vectors() -> None:
    for phrase in ("a photo of a", "red", "two circle or one blue star"):
        expected = EMBEDDED.encode_texts([f"{phrase} {name.replace('_', ' ')}." for name in NAMES])
        vectors = encode(TOWER, words(EMBEDDED.model, phrase))
        torch.testing.assert_close(vectors.double(), torch.from_numpy(expected), atol=1e-5, rtol=0.0)
    assert torch.equal(TOWER.phrase, words(EMBEDDED.model, "a photo of a"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (CLIP, {}),
        (CLIP, {"pool_type": "eos", "eos_id": END, "ls_init_value": 0.5}),
        (CLIP, {"proj_bias": True}),
        (CustomTextCLIP, {}),
        (CustomTextCLIP, {"pool_type": "eos", "eos_id": END, "proj_bias": True}),
    ],
)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_every_kind_of_clips_tower_is_computed_as_open_clip_does(
    kind: Any, text: dict[str, Any], quick_gelu: bool
) -> None:
    torch.manual_seed(0)
    model = kind(20, VISION, {**TEXT, **text}, quick_gelu=quick_gelu).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    loaded: Any = SimpleNamespace(model=model, tokenizer=EMBEDDED.tokenizer, device=torch.device("cpu"))
    tower = ClipTower(loaded, "any")
    with torch.no_grad():
        tokens = EMBEDDED.tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in NAMES])
        expected = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode(tower, tower.phrase), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("text", [{"no_causal_mask": True, "pool_type": "last"}, {"embed_cls": True}])
def test_towers_of_another_kind_are_refused_in_words(text: dict[str, Any]) -> None:
    model = CustomTextCLIP(20, VISION, {**TEXT, **text})  # type: ignore[arg-type]
    loaded: Any = SimpleNamespace(model=model, tokenizer=EMBEDDED.tokenizer, device=torch.device("cpu"))
    with pytest.raises(UserError, match="encoder 'ViT-X' cannot take learned tokens"):
        ClipTower(loaded, "ViT-X")


def test_a_text_does_not_depend_on_the_other_names() -> None:
    context = torch.randn(3, 128)
    alone = encode(TOWER, context, ("circle", "x"))
    long = encode(TOWER, context, ("circle", "x", "dotted outlined checkered striped purple hexagon"))
    torch.testing.assert_close(alone, long[:2], atol=1e-6, rtol=0.0)


def test_names_that_are_too_long_are_cut_as_open_clip_cuts_them() -> None:
    name = " ".join(["striped pink oval"] * 6)
    for phrase in ("a photo of a", "a a a a a a a a a a a a a"):
        expected = EMBEDDED.encode_texts([f"{phrase} {n}." for n in (name, "circle oval")])
        vectors = encode(TOWER, words(EMBEDDED.model, phrase), (name, "circle oval"))
        torch.testing.assert_close(vectors.double(), torch.from_numpy(expected), atol=1e-5, rtol=0.0)


def test_a_context_that_leaves_no_room_for_names_is_told_in_words() -> None:
    with pytest.raises(UserError, match=r"context of 14 tokens.*'embedded' reads 16 tokens; at most 13"):
        encode(TOWER, torch.zeros(14, 128))


def test_runs_of_a_stack_share_the_tower_and_nothing_else() -> None:
    names = TOWER.names(TOWER.tokens(NAMES), 4)
    contexts = torch.randn(3, 4, 128, generator=torch.Generator().manual_seed(1)).requires_grad_()
    pull = torch.randn(len(NAMES), 64)
    together = vmap(lambda one: TOWER.encode(one, names))(contexts)
    (gradient,) = torch.autograd.grad((together * pull).sum(), [contexts])
    for run in range(3):
        context_of_run = contexts[run].detach().requires_grad_()
        alone = TOWER.encode(context_of_run, names)
        torch.testing.assert_close(alone, together[run], atol=1e-5, rtol=0.0)
        (expected,) = torch.autograd.grad((alone * pull).sum(), [context_of_run])
        torch.testing.assert_close(gradient[run], expected, atol=1e-4, rtol=1e-4)


def test_a_study_has_the_tokens_of_seen_names_and_the_exam_those_of_all() -> None:
    plain = problem_of(*NAMES, unseen=2)
    problem = with_tower(plain, TOWER)
    assert torch.equal(problem.texts, plain.texts)
    studies = problem.studies(torch.ones(1, len(plain.train), 3, dtype=torch.bool), ["one"], ["one"])
    assert studies.tokens is not None
    assert torch.equal(studies.tokens, TOWER.tokens(NAMES[:3]))
    everything = problem.exam().texts.tokens
    assert everything is not None
    assert torch.equal(everything, TOWER.tokens(NAMES))


def test_the_memory_of_a_step_is_foreseen() -> None:
    names = TOWER.names(TOWER.tokens(NAMES * 4), 4)
    context = torch.randn(4, 128, requires_grad=True)
    sizes: dict[int, int] = {}

    def record_size(value: torch.Tensor) -> torch.Tensor:
        if not isinstance(value, torch.nn.Parameter) and value.untyped_storage().data_ptr() not in weights:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes() // 4
        return value

    weights = {p.untyped_storage().data_ptr() for p in EMBEDDED.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(record_size, lambda value: value):
        TOWER.encode(context, names)
    assert sum(sizes.values()) < TOWER.floats(names, 4) < 4 * sum(sizes.values())
