"""CoOp: learned tokens in front of the class names, read by the encoder's own text tower.

Family: clip (CLIP's own classifier, adapted).

t_c = tower([v_1 ... v_M, name of c, "."]),   score(x, c) = scale cos(x, t_c)

Only the tokens v are learned, and all classes share them: the name of an unseen class is put behind the same tokens.
The texts of all classes are computed anew at every step, which is almost all of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tempered, Tuned, check_space
from pzsl_bench.contract import Citation, Net, State, Study, hyper, method, normalise
from pzsl_bench.contract.text_tower import Names, Tower

START_SPREAD = 0.02
"""Standard deviation of tokens that start at random."""


class Context(Tempered):
    """The learned tokens, and the text tower that reads them."""

    def __init__(self, tower: Tower, names: Names, start: Tensor, scale: float, learn_scale: bool):
        super().__init__(scale, learn_scale)
        self.tower, self.names = tower, names
        self.context = nn.Parameter(start)

    def forward(self, features: Tensor, texts: Tensor, vectors: Tensor | None = None) -> Tensor:
        """(B, d), text vectors (C, d) -> (B, C) logits; without text vectors those of the study's names, (B, K)."""
        if vectors is None:
            vectors = self.tower.encode(self.context, self.names)
        return self.tempered(self.scale * normalise(features) @ vectors.T)

    def text_vectors(self, context: Tensor, tokens: Tensor) -> Tensor:
        """(C, d) the vectors of all names, from their tokens (C, L)."""
        return self.tower.encode(context, self.tower.names(tokens, len(context)))


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
        if tower is None or study.tokens is None:
            raise UserError("coop needs the text tower of the encoder; class texts alone are not enough")
        check_space(self.info.name, study)
        names = tower.names(study.tokens, self.context)
        learn_scale = self.temperature == "learned"
        return Context(tower, names, self._first(tower.phrase), study.scale, learn_scale)

    def prepare(self, net: Net, memory: State) -> State:
        """The text vectors (C, d) of all classes, each name behind the same tokens."""
        assert isinstance(net.module, Context)
        assert net.tokens is not None
        return {"vectors": net.module.text_vectors(net.state["context"], net.tokens)}

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) logits."""
        scores: Tensor = net(features, vectors=memory["vectors"])
        return scores

    def extra_floats(self, study: Study) -> int:
        """The numbers that the text tower keeps of all prompts."""
        assert study.tower is not None
        assert study.tokens is not None
        return study.tower.floats(study.tower.names(study.tokens, self.context), self.context)

    def _first(self, phrase: Tensor) -> Tensor:
        """(M, w) the tokens at the start."""
        random = START_SPREAD * torch.randn(self.context, phrase.shape[1]).to(phrase)
        return random if self.start == "random" else torch.cat([random, phrase])[-self.context :]
