"""CoOp: learned tokens in front of the class names, read by the encoder's own text tower.

Family: clip (CLIP's own classifier, adapted).

t_c = tower([v_1 ... v_M, name of c, "."]),   score(x, c) = scale cos(x, t_c)

The tokens v are all that is learned, and all classes share them: one that was never seen is put behind the same
tokens. Texts are made anew at every step, for all classes; images cost next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tempered, Tuned, check_space
from pzsl_bench.contract import Citation, Net, State, Study, hyper, method, normalise
from pzsl_bench.contract.text_tower import Names, Tower

SPREAD = 0.02
"""Standard deviation of tokens that start at random."""


class Context(Tempered):
    """The learned tokens, and the tower they are read by."""

    def __init__(self, tower: Tower, names: Names, start: Tensor, scale: float, learn_scale: bool):
        super().__init__(scale, learn_scale)
        self.tower, self.names = tower, names
        self.context = nn.Parameter(start)

    def forward(self, features: Tensor, texts: Tensor, made: Tensor | None = None) -> Tensor:
        """(B, d), and text vectors (C, d) if they are made already -> (B, C); else for the study's names (B, K)."""
        vectors = self.tower.encode(self.context, self.names) if made is None else made
        return self.tempered(self.scale * normalise(features) @ vectors.T)

    def made(self, context: Tensor, texts: Tensor) -> Tensor:
        """(C, d) the vectors of all names in the class rows."""
        return self.tower.encode(context, self.tower.names(texts, len(context)))


@method(
    "coop",
    title="CoOp",
    family="clip",
    citation=Citation(
        "Zhou, Yang, Loy and Liu",
        "Learning to Prompt for Vision-Language Models",
        "IJCV",
        2022,
        "https://arxiv.org/abs/2109.01134",
    ),
    deviations=(
        "Tokens start at those of 'a photo of a', an option of the release that later papers prefer for unseen"
        " classes; start: random is the paper's.",
        "AdamW with mini-batches of 512 encoded images; the release has SGD at 2e-3 on batches of 32 augmented crops.",
        "The scale of the cosine is learned (temperature: fixed keeps the encoder's own): with flat soft labels a fixed"
        " scale can only be met by making all texts alike.",
        *CANDIDATE_DEVIATIONS,
        "Without a context for each class, which has none for a class that was never seen, and without names in the"
        " middle of the tokens.",
    ),
)
@dataclass(frozen=True)
class CoOp(Tuned):
    """A learned context."""

    context: int = hyper(4, "learned tokens; 16 in most of the paper", above=0)
    start: str = hyper(
        "phrase",
        "where they start; phrase: the last ones at 'a photo of a', any before at random",
        choices=("phrase", "random"),
    )
    batch: int = hyper(512, "images in a mini-batch", above=0)

    @property
    def needs(self) -> frozenset[str]:
        """The encoder's text tower."""
        return super().needs | {"text tower"}

    def module(self, study: Study) -> nn.Module:
        """The tokens."""
        tower = study.tower
        if tower is None:
            raise UserError("coop needs the text tower of the encoder; class texts alone are not enough")
        check_space(self.info.name, study)
        names = tower.names(study.texts, self.context)
        learn_scale = self.temperature == "learned"
        return Context(tower, names, self._first(tower.phrase), study.scale, learn_scale)

    def prepare(self, net: Net, memory: State) -> State:
        """The text vectors (C, d); all classes behind the same tokens."""
        assert isinstance(net.module, Context)
        return {"made": net.module.made(net.state["context"], net.texts)}

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) logits."""
        scores: Tensor = net(features, made=memory["made"])
        return scores

    def extra_floats(self, study: Study) -> int:
        """What the tower keeps of every prompt."""
        assert study.tower is not None
        return study.tower.floats(study.tower.names(study.texts, self.context), self.context)

    def _first(self, phrase: Tensor) -> Tensor:
        """(M, w) the tokens at the start."""
        random = SPREAD * torch.randn(self.context, phrase.shape[1]).to(phrase)
        return random if self.start == "random" else torch.cat([random, phrase])[-self.context :]
