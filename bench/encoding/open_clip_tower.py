"""The text transformer of an open_clip model, with learned tokens in the place of a prompt's first words.

A prompt is [start] context name [end]. Attention is causal, so start and context do not depend on the name: they are
computed once for all classes, and only the few tokens of a name are computed for each class. Tokens behind the end are
not computed. Neither saving changes the text vectors: they are those of open_clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import normalise
from pzsl_bench.contract.text_tower import Names, Tower
from pzsl_bench.encoding.open_clip_model import LoadedEncoder

PHRASE = "a photo of a"
FLOATS_PER_TOKEN = 20
"""Numbers per token, layer and unit of width: half are kept for the gradient, half are intermediate results."""


class ClipTower(Tower):
    """The text tower of a loaded encoder."""

    def __init__(self, loaded: LoadedEncoder, spec: str):
        text: Any = getattr(loaded.model, "text", loaded.model)
        _check(text, spec)
        self.spec = spec
        self.tokenizer = loaded.tokenizer
        self.device = loaded.device
        self.table: Tensor = text.token_embedding.weight.detach()
        self.positions: Tensor = text.positional_embedding.detach()
        self.blocks: list[Any] = list(text.transformer.resblocks)
        self.last: nn.Module = text.ln_final
        self.projection: Any = text.text_projection
        self.end: int | None = _end_token(text)
        for part in (text.transformer, text.ln_final):
            part.requires_grad_(False)
        if isinstance(self.projection, nn.Module):
            self.projection.requires_grad_(False)
        elif self.projection is not None:
            self.projection = self.projection.detach()
        tokens = self._tokens([PHRASE])
        self.start = self.table[tokens[0, :1]]
        self.phrase = self.table[tokens[0, 1 : int(self._ends(tokens)[0])]]

    def tokens(self, class_names: Sequence[str]) -> Tensor:
        """(C, L) the token numbers of class names, each with the full stop that ends a prompt."""
        return self._tokens([f"{name.replace('_', ' ')}." for name in class_names])

    def names(self, tokens: Tensor, context: int) -> Names:
        """The tokens behind the start; names that are too long are cut as open_clip cuts them, before the end."""
        length = len(self.positions)
        room = length - 1 - context
        if room < 2:
            raise UserError(
                f"a context of {context} tokens leaves no room for class names: the text tower of encoder"
                f" '{self.spec}' reads {length} tokens; at most {length - 3} can be learned"
            )
        ends = self._ends(tokens)
        last = tokens.gather(1, ends[:, None])
        size = min(int(ends.max()), room)
        ends = (ends - 1).clamp(max=room - 1)
        name_tokens = tokens[:, 1 : size + 1].scatter(1, ends[:, None], last)
        return Names(self.table[name_tokens], ends)

    def encode(self, context: Tensor, names: Names) -> Tensor:
        """(M, w) -> (C, a) unit vectors."""
        head, size = 1 + len(context), names.words.shape[1]
        before = torch.cat([self.start, context]) + self.positions[:head]
        after = names.words + self.positions[head : head + size]
        hidden = _hidden(head + size, before.device)
        for block in self.blocks:
            before, after = _layer(block, before, after, hidden)
        outputs = self.last(after.gather(1, names.ends[:, None, None].expand(-1, 1, after.shape[-1])).squeeze(1))
        if isinstance(self.projection, nn.Module):
            outputs = self.projection(outputs)
        elif self.projection is not None:
            outputs = outputs @ self.projection
        return normalise(outputs)

    def floats(self, names: Names, context: int) -> int:
        """The tokens of all layers, and their attention to each other."""
        classes, size, width = names.words.shape
        tokens, heads = classes * size + 1 + context, int(self.blocks[0].attn.num_heads)
        return len(self.blocks) * tokens * (FLOATS_PER_TOKEN * width + 2 * heads * (size + 1 + context))

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        tokens: Tensor = self.tokenizer(list(texts)).to(self.device)
        return tokens

    def _ends(self, tokens: Tensor) -> Tensor:
        return tokens.argmax(1) if self.end is None else (tokens == self.end).int().argmax(1)


def _check(text: Any, spec: str) -> None:
    """Raise an error in the user's words for a tower of another kind than this module computes."""
    from open_clip.transformer import ResidualAttentionBlock

    blocks = getattr(getattr(text, "transformer", None), "resblocks", ())
    causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
    alike = len(blocks) > 0 and all(type(block) is ResidualAttentionBlock for block in blocks)
    if not (causal and alike and _pooling(text) in ("argmax", "eos")):
        raise UserError(
            f"the text tower of encoder '{spec}' cannot take learned tokens: it is not the causal transformer of CLIP"
            " that is read at the end of a text"
        )


def _pooling(text: Any) -> str:
    return str(getattr(text, "text_pool_type", getattr(text, "pool_type", "")))


def _end_token(text: Any) -> int | None:
    """The token that ends a text; None where it is the token with the highest number."""
    return int(getattr(text, "text_eos_id", getattr(text, "eos_id", 0))) if _pooling(text) == "eos" else None


def _hidden(size: int, device: torch.device) -> Tensor:
    """(size, size) True where a token, a row, must not attend to a later token, a column."""
    return torch.ones(size, size, dtype=torch.bool, device=device).triu(1)


def _layer(block: Any, before: Tensor, after: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """One layer on the tokens (P, w) that all prompts share, and on the tokens (C, n, w) of each prompt behind them."""
    head = len(before)
    q0, k0, v0 = _heads(block, before)
    q1, k1, v1 = _heads(block, after)
    shared_attention = torch.einsum("phd,qhd->hpq", q0, k0).masked_fill(hidden[:head, :head], float("-inf")).softmax(-1)
    to_shared = torch.einsum("cnhd,phd->chnp", q1, k0)
    to_own = torch.einsum("cnhd,cmhd->chnm", q1, k1).masked_fill(hidden[head:, head:], float("-inf"))
    attn = torch.cat([to_shared, to_own], dim=-1).softmax(-1)
    mixed = torch.einsum("chnp,phd->cnhd", attn[..., :head], v0) + torch.einsum("chnm,cmhd->cnhd", attn[..., head:], v1)
    return _rest(block, before, torch.einsum("hpq,qhd->phd", shared_attention, v0)), _rest(block, after, mixed)


def _heads(block: Any, tokens: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values (..., heads, w / heads), the queries scaled."""
    attention = block.attn
    mixed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = mixed.view(*tokens.shape[:-1], 3, attention.num_heads, attention.head_dim).unbind(-3)
    return q * attention.head_dim**-0.5, k, v


def _rest(block: Any, tokens: Tensor, mixed: Tensor) -> Tensor:
    """The output (..., w) of a layer, from its tokens (..., w) and their attention heads (..., heads, w / heads)."""
    tokens = tokens + block.ls_1(block.attn.out_proj(mixed.flatten(-2)))
    output: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return output
