"""Train the encoder that ships with the drawn world: python -m pzsl_bench.datasets.shapes.pretrain --out DIR.

A small CLIP (1.8 million parameters) learns from drawn images and their captions for a fixed number of steps. Images
and captions are the same on every machine, except for the rounding of single pixels. The weights are the same except
for what these differences grow to in training.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pzsl_bench.datasets.shapes.draw import SIDE
from pzsl_bench.datasets.shapes.stream import BATCH, items
from pzsl_bench.datasets.shapes.tokenizer import MERGES_FILE, merges_file, vocabulary_size
from pzsl_bench.encoding import torchvision_shim

STEPS = 1800
WARM_UP = 100
LEARNING_RATE = 2e-3
LAST_LEARNING_RATE = 0.02
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05
CLIP = 1.0
LARGEST_SCALE = 100.0
THREADS = 1
"""More threads change the order of sums, and are no faster at this size."""
SEED = 1
MEAN, STD = 0.5, 0.27

log = logging.getLogger(__name__)


def config() -> dict[str, Any]:
    """The content of open_clip_config.json."""
    return {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
            "text_cfg": {
                "context_length": 16,
                "vocab_size": vocabulary_size(),
                "width": 128,
                "heads": 4,
                "layers": 2,
            },
        },
        "preprocess_cfg": {
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a fiftieth of the peak."""
    warm_up = min(WARM_UP, max(1, steps // 10))
    if step < warm_up:
        return LEARNING_RATE * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return LEARNING_RATE * (LAST_LEARNING_RATE + (1 - LAST_LEARNING_RATE) * cosine)


@contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """One seed for the initial weights and a fixed number of threads; the caller's settings are restored afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)


def pretrain(out: Path, steps: int = STEPS, batch: int = BATCH) -> float:
    """Write config, merges and fp16 weights to a folder; returns the mean loss of the last steps."""
    torchvision_shim.declare_missing_operators()
    import open_clip
    from open_clip.loss import ClipLoss

    out.mkdir(parents=True, exist_ok=True)
    (out / "open_clip_config.json").write_text(json.dumps(config(), indent=2) + "\n")
    merges = (out / MERGES_FILE).resolve()
    merges.write_bytes(merges_file())
    tokenize = open_clip.get_tokenizer(f"local-dir:{out.resolve()}", bpe_path=str(merges))
    with fixed_arithmetic():
        # Channels last is a sixth faster on CPUs than the usual layout.
        model = open_clip.model.CLIP(**config()["model_cfg"]).to(memory_format=torch.channels_last)
        loss = _train(model, tokenize, ClipLoss(), steps, batch)
    weights = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
    (out / "open_clip_model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    return loss


def _train(
    model: nn.Module,
    tokenize: Callable[[list[str]], Tensor],
    criterion: Callable[..., Tensor],
    steps: int,
    batch: int,
) -> float:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)
    logit_scale = model.get_parameter("logit_scale")
    losses: list[float] = []
    begin = time.perf_counter()
    for step in range(steps):
        batch_items = items(step, batch)
        pixels = torch.from_numpy(batch_items.images()).permute(0, 3, 1, 2).float().div(255).sub(MEAN).div(STD)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        image, text, scale = model(pixels, tokenize(batch_items.captions))
        loss = criterion(image, text, scale)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        with torch.no_grad():
            logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        losses.append(loss.item())
        recent = sum(losses[-50:]) / len(losses[-50:])
        if step % 50 == 49:
            log.info("step %d of %d: loss %.3f, %.0f s", step + 1, steps, recent, time.perf_counter() - begin)
    return recent


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for the encoder")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pretrain(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
