"""What CLIP-PZSL trains: image adapter, mining block, temperature and, where they are learnt, label embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.contract import Study, normalise
from pzsl_bench.contract.heads import SPEED, Adapter, ClassResidual, Dense, kept_share
from pzsl_bench.methods.clip_pzsl.mining import SemanticMining
from pzsl_bench.methods.clip_pzsl.settings import Settings


class Model(nn.Module):
    """Image adapter, mining block, temperature and (if learnt) label embeddings."""

    def __init__(self, settings: Settings, study: Study):
        super().__init__()
        width = study.features.shape[-1]
        self.repeats = settings.adapter_repeats
        self.kind = settings.adapter
        if self.kind == "shared":
            self.adapter = Adapter.of(study, settings.hidden, settings.encoder_counts)
        elif self.kind != "none":
            if self.kind == "mlp":
                self.down = Dense(width, 2 * width)
            self.up = Dense(2 * width if self.kind == "mlp" else width, width)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
        self.block = SemanticMining(
            width, settings.block_norm, settings.block_start, settings.block_ffn, settings.attends
        )
        self.kept = self.block.kept = kept_share(study, settings.encoder_counts)
        self.scale = study.scale
        self.residual = ClassResidual.of(study, settings.encoder_counts) if settings.labels == "residual" else None
        self.log_scale = nn.Parameter(torch.zeros(())) if settings.temperature == "learned" else None
        self.centres = nn.Parameter(study.texts.clone()) if settings.labels == "learnable" else None

    def adapt(self, features: Tensor) -> Tensor:
        """(B, d) unit images after the adapter."""
        x = features
        for _ in range(self.repeats if self.kind != "none" else 0):
            if self.kind == "linear":
                x = x + self.up(x)
            elif self.kind == "shared":
                x = self.adapter(x)
            else:
                x = x + self.up(F.gelu(self.down(F.layer_norm(x, x.shape[-1:]))))
        return normalise(x)

    def kappa(self) -> Tensor | float:
        """The logit scale, at most 100 times the encoder's own range."""
        return self.scale if self.log_scale is None else self.scale * torch.exp(SPEED * self.log_scale)

    def constant_kappa(self) -> Tensor | float:
        """The logit scale as a constant in the gradient."""
        kappa = self.kappa()
        return kappa if isinstance(kappa, float) else kappa.detach()

    def forward(self, features: Tensor, texts: Tensor, within: Any) -> Any:
        """Whatever `within` makes of this model and the adapted images."""
        return within(self, self.adapt(features))
