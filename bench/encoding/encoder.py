"""Find an encoder by its name, and say what determines its features, without loading a model or even torch.

embedded              the small open_clip model that ships with the package
NAME:TAG              an open_clip architecture with one of its pretrained tags
NAME:FILE             an open_clip architecture with a checkpoint of yours
local-dir:FOLDER      open_clip's own folder layout: open_clip_config.json and one checkpoint
none                  no encoder: the dataset brings ready features

After each name, +cupl=FILE, +dclip=FILE or +waffle sets how class names become texts: `pzsl_bench.encoding.wording`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import MissingDataError, UserError, unknown
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.encoding.cache import cache_root, file_hash, read_json
from pzsl_bench.encoding.open_clip_catalogue import architecture, architectures, pretrained
from pzsl_bench.encoding.prompts import class_texts
from pzsl_bench.encoding.wording import Encode, Wording, split_wording

if TYPE_CHECKING:
    from pzsl_bench.encoding.open_clip_model import LoadedEncoder

CONFIG = "open_clip_config.json"
MERGES = "bpe.txt.gz"
FOLDER_PREFIX = "local-dir:"
EMBEDDED = Path(__file__).parent / "embedded"
"""The small model that ships with the package, so that a fresh clone needs no download: 3.7 MB of weights.

`python -m pzsl_bench.datasets.shapes.pretrain --out DIR` makes them again in about ten minutes.
"""
EXAMPLE = "ViT-B-32:laion2b_s34b_b79k"

OPEN_CLIP_DEFAULTS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""How open_clip prepares images where neither the tag nor the config says otherwise."""


@dataclass(frozen=True)
class Encoder(ABC):
    """An encoder that can be named, fingerprinted and loaded."""

    spec: str
    cache: Path

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that determines the features, apart from the preprocessing."""

    @property
    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, std, interpolation and resize mode that images are prepared with."""

    @abstractmethod
    def load(self, device: str = "cpu", download: bool = False) -> LoadedEncoder:
        """The model in memory. Weights come over the network only when `download` is set."""

    @property
    def of_images(self) -> Encoder:
        """The encoder that determines the features of images, whatever the wording of class names."""
        return self

    def class_texts(self, encode: Encode, names: Sequence[str], templates: Sequence[str]) -> NDArray[np.float32]:
        """(C, a) one vector per class, from the embeddings of its prompts."""
        return class_texts(encode, names, templates)

    @property
    def label(self) -> str:
        """The readable half of the fingerprint; never a path of this machine."""
        return self.spec.partition(":")[0]

    @cached_property
    def _fingerprint(self) -> str:
        return f"{self.label}@{identity_hash({**self.identity(), 'preprocessing': self.preprocessing})[:16]}"

    def fingerprint(self) -> str:
        """Architecture and a hash of weights, tokenizer and preprocessing: "embedded@3f8c..."."""
        return self._fingerprint


@dataclass(frozen=True)
class NoEncoder(Encoder):
    """No encoder, for datasets of ready features with ready class texts."""

    def identity(self) -> dict[str, Any]:
        """There is no encoder, so there is nothing to identify."""
        return {}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """There are no images."""
        return {}

    def fingerprint(self) -> str:
        """The word "none"."""
        return "none"

    def load(self, device: str = "cpu", download: bool = False) -> LoadedEncoder:
        """There is nothing to load."""
        raise UserError("encoder 'none' cannot encode images or class names; try --encoder embedded")


@dataclass(frozen=True)
class FolderEncoder(Encoder):
    """A folder in open_clip's local layout, perhaps with its own BPE merges."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of open_clip_config.json."""
        content = read_json(self.folder / CONFIG)
        if not isinstance(content, dict) or not isinstance(content.get("model_cfg"), dict):
            raise MissingDataError(f"encoder '{self.spec}': {self.folder / CONFIG} is missing or not a model config")
        return content

    @cached_property
    def weights(self) -> Path:
        """The one checkpoint of the folder."""
        checkpoints = sorted(f for s in ("*.safetensors", "*.bin", "*.pth") for f in self.folder.glob(s))
        if len(checkpoints) != 1:
            what = ", ".join(f.name for f in checkpoints) or "none"
            raise MissingDataError(f"encoder '{self.spec}': {self.folder} must hold one checkpoint, found {what}")
        return checkpoints[0]

    def identity(self) -> dict[str, Any]:
        """Config, weights and tokenizer files by content."""
        tokenizer_files = [f for p in (MERGES, "tokenizer*", "vocab*", "merges*") for f in sorted(self.folder.glob(p))]
        return {
            "config": self.config["model_cfg"],
            "weights": file_hash(self.weights, self.cache),
            "tokenizer": {f.name: file_hash(f, self.cache) for f in tokenizer_files if f.is_file()},
        }

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The settings of the config, completed by open_clip's defaults."""
        return _preprocessing(self.config["model_cfg"], self.config.get("preprocess_cfg", {}))

    def load(self, device: str = "cpu", download: bool = False) -> LoadedEncoder:
        """Read the folder; the network is never needed."""
        from pzsl_bench.encoding.open_clip_model import load_open_clip

        _ = self.weights
        # open_clip resolves a relative merges path against the working directory.
        merges = (self.folder / MERGES).resolve()
        return load_open_clip(
            f"{FOLDER_PREFIX}{self.folder.resolve()}",
            None,
            self.preprocessing,
            device=device,
            tokenizer={"bpe_path": str(merges)} if merges.is_file() else {},
            download=False,
        )


@dataclass(frozen=True)
class NamedEncoder(Encoder):
    """An open_clip architecture with a pretrained tag or a checkpoint file."""

    architecture: str
    tag: str | None
    file: Path | None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What open_clip knows about the tag."""
        return dict(pretrained(self.cache)[self.architecture][self.tag]) if self.tag else {}

    @property
    def label(self) -> str:
        """The architecture alone: a weights file may lie anywhere."""
        return self.architecture

    @property
    def quick_gelu(self) -> bool:
        """Whether the tag was trained with the fast GELU; open_clip itself only warns about a mismatch."""
        return bool(self.facts.get("quick_gelu"))

    def identity(self) -> dict[str, Any]:
        """Architecture and weights: a file by its content, a tag by its origin, so that no download is needed."""
        config = architecture(self.architecture)
        if self.quick_gelu:
            config["quick_gelu"] = True
        origin = {k: self.facts[k] for k in ("hf_hub", "url") if self.facts.get(k)}
        weights = file_hash(self.file, self.cache) if self.file else {"tag": self.tag, **origin}
        return {"config": config, "weights": weights, "tokenizer": "open_clip"}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The settings of the tag, completed by open_clip's defaults."""
        return _preprocessing(architecture(self.architecture), self.facts)

    def load(self, device: str = "cpu", download: bool = False) -> LoadedEncoder:
        """Build the architecture and read the weights."""
        from pzsl_bench.encoding.open_clip_model import load_open_clip

        return load_open_clip(
            self.architecture,
            str(self.file) if self.file else str(self.tag),
            self.preprocessing,
            device=device,
            quick_gelu=self.quick_gelu,
            download=download,
        )


@dataclass(frozen=True)
class WordedEncoder(Encoder):
    """An encoder with a wording: classes are described by other texts than the name in the templates."""

    base: Encoder
    wording: Wording

    @property
    def of_images(self) -> Encoder:
        """The base encoder: the wording does not change the features of images."""
        return self.base

    def class_texts(self, encode: Encode, names: Sequence[str], templates: Sequence[str]) -> NDArray[np.float32]:
        """(C, a) the class vectors that the wording makes."""
        return self.wording.class_texts(encode, names, templates)

    def identity(self) -> dict[str, Any]:
        """The identity of the base encoder, and that of the wording."""
        return {**self.base.identity(), "wording": self.wording.identity()}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The preprocessing of the base encoder."""
        return self.base.preprocessing

    @property
    def label(self) -> str:
        """The label of the base encoder."""
        return self.base.label

    def load(self, device: str = "cpu", download: bool = False) -> LoadedEncoder:
        """The model of the base encoder."""
        return self.base.load(device, download)


def find_encoder(spec: str, cache: Path | None = None) -> Encoder:
    """The encoder of that name. The error for an unknown name or tag names the nearest one, if there is one."""
    root = cache_root(cache)
    name, wording = split_wording(spec)
    if wording is not None:
        return WordedEncoder(spec, root, find_encoder(name, cache), wording)
    if spec == "none":
        return NoEncoder(spec, root)
    if spec == "embedded":
        return FolderEncoder(spec, root, EMBEDDED)
    if spec.startswith(FOLDER_PREFIX):
        folder = Path(spec.removeprefix(FOLDER_PREFIX)).expanduser()
        if not folder.is_dir():
            raise MissingDataError(f"encoder '{spec}': there is no folder {folder}")
        return FolderEncoder(spec, root, folder)
    name, _, weights = spec.partition(":")
    known = architectures()
    # open_clip reads ViT-B/32 as ViT-B-32.
    name = name.replace("/", "-")
    if name not in known:
        raise _unknown_architecture(spec, name, known)
    file = Path(weights).expanduser()
    if weights and file.is_file():
        return NamedEncoder(spec, root, name, None, file)
    if file.suffix or "/" in weights or "\\" in weights:
        what = "is a folder" if file.is_dir() else "does not exist"
        raise MissingDataError(f"encoder '{spec}': the weights file {weights} {what}")
    tags = pretrained(root).get(name, {})
    if not weights and len(tags) == 1:
        return NamedEncoder(spec, root, name, next(iter(tags)), None)
    choice = f"tags of {name}: {', '.join(tags)}" if tags else f"{name} has no pretrained tag, so give {name}:FILE"
    if not weights:
        raise UserError(f"encoder '{spec}' needs weights, {name}:TAG or {name}:FILE; {choice}")
    # open_clip itself reads tags this way.
    tag = weights.lower().replace("-", "_")
    if tag not in tags:
        raise UserError(f"{unknown(f'weights of {name}', weights, tags)}; {choice}")
    return NamedEncoder(spec, root, name, tag, None)


def _preprocessing(config: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    size = config["vision_cfg"].get("image_size", 224)
    return {"size": size, **{k: _plain(settings.get(k, default)) for k, default in OPEN_CLIP_DEFAULTS.items()}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _unknown_architecture(spec: str, name: str, known: set[str]) -> UserError:
    error = unknown("encoder", name, {"embedded", "none", *known})
    if "did you mean" in str(error):
        return error
    return UserError(
        f"unknown encoder '{spec}'; known: embedded, none, {FOLDER_PREFIX}FOLDER, or NAME:WEIGHTS as in {EXAMPLE}"
    )
