"""CLIP-PZSL: where it starts, what its weights and confidences are, and what test images may not change."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import perf
import pytest
import torch
from perf import make_studies
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Batch, Gradient, Net, configure, normalise
from pzsl_bench.methods.clip_pzsl import ClipPzsl
from pzsl_bench.methods.clip_pzsl.model import Model
from pzsl_bench.methods.clip_pzsl.presets import ABLATIONS, PRESETS
from pzsl_bench.methods.clip_pzsl.relevance import barrier, softmax_over_candidates
from pzsl_bench.methods.clip_pzsl.step import candidate_weights, mine
from pzsl_bench.methods.clip_pzsl.step import stored as stored_after
from pzsl_bench.methods.clip_pzsl.unseen import ROUTES, TRANSDUCTIVE
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit, initialise
from pzsl_bench.training.vmapped import Vmapped

PROBLEM = toy_problem(noise=1.5)


def make(**settings: Any) -> ClipPzsl:
    method = configure("clip_pzsl", settings)
    assert isinstance(method, ClipPzsl)
    return method


def earlier(**settings: Any) -> ClipPzsl:
    """With the defaults of version 1, where attention between images and label embeddings mines."""
    return make(preset="earlier", **settings)


def studies(rate: float = 0.3, seeds: int = 1) -> Studies:
    return toy_studies(PROBLEM, [("flip", rate, seed) for seed in range(seeds)])


def stacked(method: ClipPzsl, stack: Studies, rows: slice = slice(None), epoch: int = 0) -> tuple[Vmapped, Any, Batch]:
    """The lifted method, its parameters, and a batch of these rows."""
    module, params, memory = initialise(method, stack, stack.uniform)
    dice = {name: torch.rand(len(stack), *shape) for name, shape in method.dice(len(PROBLEM.train[rows]), 8).items()}
    batch = Batch(
        features=stack.features[rows].expand(len(stack), -1, -1),
        texts=stack.texts,
        weights=torch.stack([method.first_weights(stack.of(r))[rows] for r in range(len(stack))]),
        candidates=stack.candidates[:, rows],
        rows={name: table[rows].expand(len(stack), -1, -1) for name, table in method.tables(stack.of(0)).items()},
        dice=dice,
        memory=memory,
        progress=torch.tensor(0.0),
        epoch=torch.tensor(epoch),
    )
    return Vmapped(method, {}, module, stack.texts), params, batch


@pytest.mark.parametrize(
    "settings",
    [
        {"block": "none"},
        {"preset": "earlier"},
        {"preset": "minimal"},
        {"preset": "specification"},
        {"block": "none", "unseen": "bypass"},
        {"block": "none", "labels": "learnable"},
    ],
    ids=str,
)
def test_before_the_first_step_it_is_zero_shot_clip(settings: dict[str, Any]) -> None:
    method, stack = make(**settings), studies()
    module, params, memory = initialise(method, stack, stack.uniform)
    net = Net(module, {k: v[0].detach() for k, v in params.items()}, PROBLEM.texts)
    got = method.score(net, {k: v[0] for k, v in memory.items()}, PROBLEM.test)
    torch.testing.assert_close(got, PROBLEM.test @ PROBLEM.texts.T)


def test_on_clean_labels_the_loss_is_plain_cross_entropy_and_the_terms_it_names() -> None:
    stack = studies(rate=0.0)
    truth = torch.from_numpy(PROBLEM.train_truth)
    cosines = stack.features @ stack.texts.T
    entropy = torch.nn.functional.cross_entropy(stack.scale * cosines, truth)
    bare = make(block="none", align="none", anchor=0.0)
    lifted, params, batch = stacked(bare, stack)
    torch.testing.assert_close(lifted.step(params, batch)[0][0], entropy)
    lifted, params, batch = stacked(make(block="none", align="cosine", align_weight=2.0, anchor=5.0), stack)
    aligned = entropy + 2 * (1 - cosines.gather(1, truth[:, None])).mean()
    # The anchor costs nothing while label embeddings are their texts.
    torch.testing.assert_close(lifted.step(params, batch)[0][0], aligned)


@pytest.mark.parametrize("relevance", ["cosine", "softmax", "uniform", "proden"])
@pytest.mark.parametrize("confidence", ["uniform", "multihot", "clip"])
def test_weights_and_confidences_live_on_the_candidates(relevance: str, confidence: str) -> None:
    method = make(relevance=relevance, confidence=confidence, warmup=0, temperature="fixed")
    lifted, params, batch = stacked(method, studies(0.5))
    cosines = batch.features[0] @ batch.texts.T
    one = replace(batch, weights=batch.weights[0], candidates=batch.candidates[0])
    assert isinstance(lifted.module, Model)
    weights = candidate_weights(method, lifted.module, cosines, one, barrier(one.candidates, cosines.dtype))
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))
    assert (weights[~one.candidates] == 0).all()
    refreshed = lifted.step(params, batch)[1].weights
    if relevance == "uniform":
        assert refreshed is None
        return
    assert refreshed is not None
    assert (refreshed[~batch.candidates] == 0).all()
    if confidence != "multihot":
        torch.testing.assert_close(refreshed.sum(-1), torch.ones(1, len(weights)))


def test_confidences_rest_during_the_warm_up_and_move_by_their_momentum_after_it() -> None:
    method = earlier(warmup=2, confidence_momentum=0.75)
    lifted, params, batch = stacked(method, studies(0.5), epoch=1)
    rest = lifted.step(params, batch)[1].weights
    assert rest is not None
    assert torch.equal(rest, batch.weights)
    lifted, params, batch = stacked(method, studies(0.5), epoch=2)
    moved = lifted.step(params, batch)[1].weights
    assert moved is not None
    walls = barrier(batch.candidates, batch.features.dtype)
    scale = method.confidence_sharpness * studies(0.5).scale
    fresh = softmax_over_candidates(scale * batch.features @ batch.texts.T, walls)
    torch.testing.assert_close(moved, 0.75 * batch.weights + 0.25 * fresh)


def test_renaming_the_classes_renames_the_result() -> None:
    method, stack = earlier(), studies(0.5)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    other = replace(stack, texts=stack.texts[order], candidates=stack.candidates[:, :, order])
    results = []
    for one in (stack, other):
        lifted, params, batch = stacked(method, one, epoch=3)
        results.append(lifted.step(params, batch))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1].weights is not None
    torch.testing.assert_close(results[0][1].weights[..., order], results[1][1].weights)
    torch.testing.assert_close(results[0][1].memory["centres"][:, order], results[1][1].memory["centres"])


@pytest.mark.parametrize("block", ["argmax_st", "argmax_sg", "gumbel_logits", "soft_kmeans", "softmax_xattn"])
def test_every_parameter_is_handed_to_the_optimiser(block: str) -> None:
    _, params, _ = initialise(make(block=block, block_ffn=True), studies(), studies().uniform)
    assert {"block.query", "block.out.weight", "block.out.bias", "block.ffn.inner.weight"} <= set(params)


def test_a_moving_average_nears_a_constant_target_geometrically_and_an_accumulator_runs_away() -> None:
    start, target = torch.zeros(3, 4), torch.ones(3, 4)
    average, pile = earlier(labels_rate=0.1), earlier(labels="accumulate", labels_rate=0.1)
    stored = start
    for _ in range(5):
        stored = stored_after(average, stored, target)["centres"]
    torch.testing.assert_close(stored, target * (1 - 0.9**5))
    stored = start
    for _ in range(5):
        # The accumulator's base is what is stored, so a constant piece of evidence is added every time.
        stored = stored_after(pile, stored, stored + target)["centres"]
    torch.testing.assert_close(stored, target * 0.5)


@pytest.mark.parametrize("unseen", [route for route in ROUTES if route not in TRANSDUCTIVE])
def test_a_prediction_does_not_depend_on_the_other_test_images(unseen: str) -> None:
    fitted = fit([earlier(unseen=unseen, epochs=3)], studies())
    whole = fitted.score(PROBLEM.test, PROBLEM.texts)
    order = torch.randperm(len(PROBLEM.test))
    torch.testing.assert_close(fitted.score(PROBLEM.test[order], PROBLEM.texts), whole[:, order])
    torch.testing.assert_close(fitted.score(PROBLEM.test[:7], PROBLEM.texts), whole[:, :7])


def test_unseen_classes_change_nothing_for_seen_ones() -> None:
    fitted = fit([make(epochs=3)], studies())
    alone = fitted.score(PROBLEM.test, PROBLEM.texts[:8])
    torch.testing.assert_close(fitted.score(PROBLEM.test, PROBLEM.texts)[..., :8], alone)


def test_nothing_it_trains_or_stores_has_a_place_for_an_unseen_class() -> None:
    stack = studies()
    _, params, memory = initialise(make(labels="learnable"), stack, stack.uniform)
    sizes = {n for v in (*params.values(), *memory.values()) for n in v.shape[1:]}
    assert len(PROBLEM.texts) not in sizes


def test_an_image_has_no_part_in_the_evidence_it_is_scored_against() -> None:
    method = earlier(block="argmax_sg", block_start="random", evidence_rate=0.25)
    lifted, params, batch = stacked(method, studies())
    first = lifted.step(params, batch)[1].memory
    nearest = torch.nn.functional.one_hot((batch.features[0] @ batch.texts.T).argmax(-1), 8).float()
    # A random query assigns in its own way, but every image to one class, and nothing is remembered before.
    assert first["count"].sum() == nearest.sum()
    torch.testing.assert_close(first["evidence"].sum(-2), batch.features.sum(-2))
    assert torch.equal(first["centres"], batch.memory["centres"])
    later = replace(batch, features=batch.features.flip(1), memory={**batch.memory, **first})
    second = lifted.step(params, later)[1].memory
    torch.testing.assert_close(second["count"].sum(), 1.75 * first["count"].sum())
    assert not torch.allclose(second["centres"], batch.memory["centres"])
    other = replace(later, features=normalise(torch.randn_like(batch.features)))
    torch.testing.assert_close(lifted.step(params, other)[1].memory["centres"], second["centres"])


def test_leaving_an_image_out_is_for_evidence_of_its_batch() -> None:
    with pytest.raises(UserError, match="evidence: batch"):
        earlier(leave_one_out=True)


def test_relevance_fades_with_the_training_and_confidences_are_what_remains() -> None:
    fading, lasting = earlier(), earlier(relevance_fades=False)
    lifted, _, batch = stacked(fading, studies(0.5))
    model = lifted.module
    assert isinstance(model, Model)
    one = replace(batch, weights=batch.weights[0], candidates=batch.candidates[0])
    cosines, walls = one.features[0] @ one.texts.T, barrier(one.candidates, torch.float32)
    torch.testing.assert_close(
        candidate_weights(fading, model, cosines, one, walls), candidate_weights(lasting, model, cosines, one, walls)
    )
    late = replace(one, progress=torch.tensor(1.0))
    torch.testing.assert_close(candidate_weights(fading, model, cosines, late, walls), one.weights)


def test_sharpness_is_relative_to_the_scale_of_the_encoder() -> None:
    stack = studies(0.5)
    results = []
    for one, sharpness in ((stack, 1.0), (replace(stack, scale=4 * stack.scale), 0.25)):
        names = ("relevance_sharpness", "confidence_sharpness", "assignment_sharpness")
        lifted, params, batch = stacked(earlier(**dict.fromkeys(names, sharpness)), one, epoch=1)
        results.append(lifted.step(params, batch)[1])
    assert results[0].weights is not None
    torch.testing.assert_close(results[0].weights, results[1].weights)
    torch.testing.assert_close(results[0].memory, results[1].memory)


def test_an_image_that_stays_as_the_encoder_gave_it_is_scored_as_if_nothing_had_adapted_it() -> None:
    whole = fit([earlier(block="none", epochs=3, frozen_share=1.0)], studies())
    torch.testing.assert_close(whole.score(PROBLEM.test, PROBLEM.texts)[0], PROBLEM.test @ PROBLEM.texts.T)
    assert not torch.equal(whole.state["adapter.up.weight"], torch.zeros_like(whole.state["adapter.up.weight"]))


def test_left_out_of_its_class_an_image_alone_in_it_is_scored_against_what_is_stored() -> None:
    method = earlier(block="argmax_st", evidence="batch", leave_one_out=True, block_start="random")
    stack = studies()
    lifted, params, batch = stacked(method, stack, slice(0, 1))
    module = lifted.module
    net = Net(module, {k: v[0].detach() for k, v in params.items()}, stack.texts)
    one = replace(batch, **{k: getattr(batch, k)[0] for k in ("features", "weights", "candidates")})
    one = replace(one, memory={"centres": normalise(torch.randn(8, 16))})

    def cosines(model: Any, x: torch.Tensor) -> torch.Tensor:
        return mine(method, model, x, one.memory["centres"], one).cosines

    got = net(one.features, within=cosines)
    read = net(one.features, within=lambda model, x: x @ model.block.read(one.memory["centres"]).T)
    torch.testing.assert_close(got, read)


def test_a_preset_is_a_set_of_defaults_and_what_is_set_beside_it_wins() -> None:
    assert make(preset="minimal").block == "none"
    assert make(preset="minimal", block="argmax_sg").block == "argmax_sg"
    assert make(preset="lineage").relevance == "cosine"


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_is_one_change_of_the_default_or_of_another(name: str) -> None:
    changed = asdict(make(preset=name))
    start = {"batch_evidence": "soft_kmeans", "sum": "batch_evidence"}.get(name)
    if start is None and changed["block"] == "soft_kmeans" and name != "soft_kmeans":
        start = "soft_kmeans"
    plain = asdict(make(preset=start or "default"))
    assert len([key for key in plain if plain[key] != changed[key] and key != "preset"]) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_and_scores_everything(name: str) -> None:
    fitted = fit([make(preset=name, epochs=2, batch=64)], studies(0.5))
    assert fitted.alive.all()
    assert fitted.score(PROBLEM.test, PROBLEM.texts).isfinite().all()


def test_together_test_images_move_the_label_embeddings_and_the_order_does_not() -> None:
    fitted = fit([earlier(unseen="full", epochs=3)], studies())
    assert fitted.method.transductive
    whole = fitted.score(PROBLEM.test, PROBLEM.texts)
    order = torch.randperm(len(PROBLEM.test), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fitted.score(PROBLEM.test[order], PROBLEM.texts), whole[:, order])
    assert not torch.allclose(fitted.score(PROBLEM.test[:100], PROBLEM.texts), whole[:, :100])


def test_a_batch_of_test_images_ends_where_a_training_batch_does() -> None:
    fitted = fit([earlier(unseen="batch", epochs=3, batch=50)], studies())
    whole = fitted.score(PROBLEM.test, PROBLEM.texts)
    torch.testing.assert_close(fitted.score(PROBLEM.test[50:100], PROBLEM.texts), whole[:, 50:100])
    assert not torch.allclose(fitted.score(PROBLEM.test[20:70], PROBLEM.texts), whole[:, 20:70])


def test_seen_classes_among_themselves_are_scored_one_image_at_a_time() -> None:
    together, alone = (fit([earlier(unseen=unseen, epochs=3)], studies()) for unseen in ("full", "transfer"))
    known = PROBLEM.texts[:8]
    assert torch.equal(together.score(PROBLEM.test, known), alone.score(PROBLEM.test, known))


def test_the_block_of_confidences_has_nothing_to_run_on_test_images() -> None:
    with pytest.raises(UserError, match="block: soft_kmeans"):
        make(unseen="full")


def test_without_a_block_no_route_is_transductive() -> None:
    assert [unseen for unseen in ROUTES if earlier(unseen=unseen).transductive] == list(TRANSDUCTIVE)
    assert not make(unseen="full", block="none").transductive


def test_hidden_classes_are_scored_by_their_text_and_keep_what_is_stored() -> None:
    method = earlier(evidence="batch", hide=0.5, block_start="random", labels_rate=1.0)
    lifted, params, batch = stacked(method, studies(0.5))
    hidden = torch.tensor([True, False] * 4)
    stored = normalise(torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0)))
    batch = replace(batch, memory={"centres": stored}, dice={"hide": torch.where(hidden, 0.1, 0.9)[None]})
    stored_after = lifted.step(params, batch)[1].memory["centres"]
    assert torch.equal(stored_after[:, hidden], stored[:, hidden])
    assert not torch.allclose(stored_after[:, ~hidden], stored[:, ~hidden])
    net = Net(lifted.module, {k: v[0].detach() for k, v in params.items()}, PROBLEM.texts)
    parts = ("features", "weights", "candidates")
    one = replace(
        batch,
        **{name: getattr(batch, name)[0] for name in parts},
        memory={"centres": stored[0]},
        dice={"hide": batch.dice["hide"][0]},
    )
    mined = net(one.features, within=lambda model, x: mine(method, model, x, stored[0], one))
    torch.testing.assert_close(mined.embeddings[hidden], batch.texts[hidden])
    assert (mined.soft[:, hidden] == 0).all()


def test_nothing_hides_unless_it_is_asked_for() -> None:
    assert make().dice(5, 8) == {}
    assert earlier(hide=0.1).dice(5, 8) == {"hide": (8,)}


@pytest.mark.parametrize("preset", ["default", "earlier"])
def test_training_sharpens_the_labels_and_notes_it(preset: str) -> None:
    fitted = fit([make(preset=preset)], studies(0.5))
    curves = fitted.curves
    assert {"loss", "confidence", "spread"} <= set(curves)
    assert ("assignment_entropy" in curves) == (preset == "earlier")
    assert curves["confidence"][0, -1] > curves["confidence"][0, 0] + 0.2
    assert isinstance(make(), Gradient)


class Written(TorchDispatchMode):
    """Counts the numbers that tensor operations write, tables of whole stacks aside."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten.index_copy_.default:
            self.numbers += sum(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor))
        return out


def test_a_step_writes_at_most_twice_as_many_numbers_as_one_of_proden() -> None:
    """Elementwise work is what a step costs at this size; `make perf` takes the times."""
    studies = make_studies(perf.CASES[0], 2, torch.device("cpu"))
    written = {}
    for name in ("proden", "clip_pzsl"):
        with Written() as count:
            fit([configure(name, {"epochs": 1, "batch": 256})] * 2, studies)
        written[name] = count.numbers
    assert written["clip_pzsl"] < 2 * written["proden"]
