"""An open_clip model in memory: images and sentences in, unit rows out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.encoding import torchvision_shim
from pzsl_bench.encoding.prompts import unit, unit_rows

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 256
"""Images, or sentences, in one forward pass."""


class LoadedEncoder:
    """A model with its own preprocessing and tokenizer."""

    def __init__(self, model: Any, transform: Any, tokenizer: Any, preprocessing: Mapping[str, Any], device: str):
        self.device = torch.device(device)
        # Convolutions are nearly twice as fast on a CPU this way, and bytes of images lie in this order anyway.
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()
        self.transform = transform
        self.tokenizer = tokenizer
        size = preprocessing["size"]
        self.height, self.width = (size, size) if isinstance(size, int) else tuple(size)
        self.mean = torch.tensor(preprocessing["mean"], device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(preprocessing["std"], device=self.device).view(1, 3, 1, 1)
        self.preprocessing = ", ".join(f"{k} {v}" for k, v in preprocessing.items())
        with torch.inference_mode():
            self.scale = float(model.logit_scale.exp())
            self.dim = int(self._forward(torch.zeros(1, 3, self.height, self.width)).shape[1])

    def prepare(self, image: Image) -> Tensor:
        """(H, W, 3) bytes of an image that has the right size already, else (3, H, W) from open_clip's transform."""
        if image.mode == "RGB" and image.size == (self.width, self.height):
            return torch.from_numpy(np.array(image))
        prepared: Tensor = self.transform(image)
        return prepared

    def pixels(self, prepared: Sequence[Tensor]) -> Tensor:
        """(n, 3, H, W) normalised floats on the device.

        Bytes are normalised here, all at once, by the arithmetic of open_clip's transform: one image at a time,
        that arithmetic costs more than a small model does.
        """
        if all(p.dtype == torch.uint8 for p in prepared):
            raw = torch.stack(list(prepared)).to(self.device).permute(0, 3, 1, 2)
            return raw.float().div_(255).sub_(self.mean).div_(self.std)
        each = [self.pixels([p])[0] if p.dtype == torch.uint8 else p.to(self.device) for p in prepared]
        return torch.stack(each).contiguous(memory_format=torch.channels_last)

    def embed(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        """(n, d) unit rows of prepared images."""
        rows = []
        with torch.inference_mode():
            for i in range(0, len(prepared), BATCH):
                rows.append(self._forward(self.pixels(prepared[i : i + BATCH])))
        return unit_rows(np.concatenate(rows)) if rows else np.zeros((0, self.dim), np.float32)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        return self.embed([self.prepare(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, a) unit rows, computed in double precision.

        Candidate sets may depend on the similarity of names, and must not depend on how a machine rounds in single
        precision. Names are few, so the cost is small.
        """
        rows = []
        self.model.double()
        try:
            with torch.inference_mode():
                for i in range(0, len(texts), BATCH):
                    tokens = self.tokenizer(list(texts[i : i + BATCH])).to(self.device)
                    rows.append(self.model.encode_text(tokens).cpu().numpy())
        finally:
            self.model.float()
        return unit(np.concatenate(rows))

    def _forward(self, pixels: Tensor) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self.model.encode_image(pixels.to(self.device)).float().cpu().numpy()
        return rows


def load_open_clip(
    name: str,
    weights: str | None,
    preprocessing: Mapping[str, Any],
    *,
    device: str,
    quick_gelu: bool = False,
    tokenizer: Mapping[str, Any] | None = None,
    download: bool,
) -> LoadedEncoder:
    """Build an open_clip model; a failure inside becomes an error of one line."""
    open_clip = _open_clip()
    image_options = {f"image_{k}": v for k, v in preprocessing.items() if k != "size"}
    try:
        with _network(download), _silence():
            model, _, transform = open_clip.create_model_and_transforms(
                name, pretrained=weights, force_quick_gelu=quick_gelu, **image_options
            )
            tokenize = open_clip.get_tokenizer(name, **(tokenizer or {}))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = f"{name}:{weights}" if weights else name
        if not download and _file_not_cached(error):
            raise MissingDataError(
                f"the weights of encoder '{where}' are not on this machine; add --download to fetch them, "
                f"or name a checkpoint file, {name}:FILE"
            ) from error
        raise UserError(f"encoder '{where}' cannot be loaded: {reason}") from error
    return LoadedEncoder(model, transform, tokenize, preprocessing, device)


@contextmanager
def one_core_for_the_reader() -> Iterator[None]:
    """Leave a core to the thread that draws the next images; two threads that share a core take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 2) - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pretrained_table() -> dict[str, dict[str, dict[str, Any]]]:
    """open_clip's pretrained tags with their facts."""
    open_clip = _open_clip()
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for name, tag in open_clip.list_pretrained():
        table.setdefault(name, {})[tag] = dict(open_clip.get_pretrained_cfg(name, tag))
    return table


def _open_clip() -> Any:
    torchvision_shim.declare_missing_operators()
    import open_clip

    return open_clip


def _file_not_cached(error: BaseException | None) -> bool:
    """Whether the cause of a failure is a file that the cache of Hugging Face's library lacks."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _silence() -> Iterator[None]:
    """Switch logging off: open_clip logs an error to the root logger and raises it, too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Keep Hugging Face's library off the network unless that is allowed."""
    if allowed:
        yield
        return
    from huggingface_hub import constants

    # The library reads the variable only when it is imported, so the constant has to be set as well.
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before, flag = {n: os.environ.get(n) for n in names}, constants.HF_HUB_OFFLINE
    os.environ.update(dict.fromkeys(names, "1"))
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = flag
        for n, value in before.items():
            os.environ.pop(n, None)
            if value is not None:
                os.environ[n] = value
