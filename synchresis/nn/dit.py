"""The diffusion transformer of the Stable Audio family, for one-dimensional latents.

One module whose configurations are LoVA, Stable Audio Open (1.0 and small), Stable-Foley's base and pocket.
Parameters carry the names of the published checkpoints (`transformer.layers.0.self_attn.to_qkv.weight`), so a
published DiT loads strictly after its prefix is cut. Sources: LoVA spec sections 2 and 9.

The network knows nothing of guidance (see `diffusion.guidance`) and of noise levels: it maps a noisy latent
and a time in 0..1 to a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Options of the original that are accepted only with the value that changes nothing.
_NEUTRAL: dict[str, Any] = {
    "transformer_type": "continuous_transformer",
    "rotary_cond_emb": False,
    "rotary_pos_emb": True,
    "causal": False,
    "conformer": False,
    "zero_init_branch_outputs": True,
    "timestep_cond_type": "global",
    "type": "dit",
}


@dataclass(frozen=True)
class DiTConfig:
    """Sizes and switches of a `DiT`. Widths are in channels, lengths in tokens.

    `cond_token_dim` 0 leaves cross-attention out altogether. `adaln_per_block` is the older layout of
    adaptive norms (a linear map per block); without it one embedder is shared and each block adds a vector.
    `context_positions` gives the context tokens positions too (LoVA). Raises ValueError for sizes that do not
    fit together.
    """

    io_channels: int = 32
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 8
    patch_size: int = 1
    cond_token_dim: int = 0
    project_cond_tokens: bool = True
    global_cond_dim: int = 0
    project_global_cond: bool = True
    global_cond_type: Literal["prepend", "adaLN"] = "prepend"
    adaln_per_block: bool = False
    prepend_cond_dim: int = 0
    input_concat_dim: int = 0
    positions: Literal["none", "learned", "sinusoidal"] = "none"
    context_positions: bool = False
    max_positions: int = 10000
    num_memory_tokens: int = 0
    qk_norm: Literal["none", "l2", "ln"] = "none"
    ff_mult: float = 4.0

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads or self.head_dim % 2:
            raise ValueError(
                f"embed_dim {self.embed_dim} does not split into {self.num_heads} heads of even width"
            )
        if self.cond_token_dim and (self.context_dim % self.head_dim or self.num_heads % self.context_heads):
            raise ValueError(
                f"a context of width {self.context_dim} does not split into heads of width {self.head_dim} "
                f"that {self.num_heads} query heads can share"
            )
        if self.global_cond_dim and self.global_dim != self.embed_dim:
            raise ValueError("without project_global_cond, global_cond_dim must equal embed_dim")
        for name, allowed in (
            ("global_cond_type", ("prepend", "adaLN")),
            ("positions", ("none", "learned", "sinusoidal")),
            ("qk_norm", ("none", "l2", "ln")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {', '.join(allowed)}")

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def context_dim(self) -> int:
        """Width of the context inside the transformer."""
        return self.embed_dim if self.project_cond_tokens else self.cond_token_dim

    @property
    def context_heads(self) -> int:
        return max(self.context_dim // self.head_dim, 1)

    @property
    def global_dim(self) -> int:
        return self.embed_dim if self.project_global_cond else self.global_cond_dim

    @property
    def input_dim(self) -> int:
        """Channels that enter the transformer before patching."""
        return self.io_channels + self.input_concat_dim

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], layout: Literal["current", "lova"] = "current"
    ) -> DiTConfig:
        """Reads a `model.diffusion.config` object of a stable-audio-tools configuration.

        The JSON does not say which generation of the code it belongs to, so the caller does: `lova` (LoVA's
        copy and other old ones) has positions on both sides, 3000 of them, and adaptive norms per block.
        Raises ValueError naming every option that is unknown or not built.
        """
        if layout not in ("current", "lova"):
            raise ValueError(f"layout is {layout!r}; known are current, lova")
        left = dict(values)
        refused = [name for name, only in _NEUTRAL.items() if left.pop(name, only) != only]
        attention = dict(left.pop("attn_kwargs", None) or {})
        feed_forward = dict(left.pop("ff_kwargs", None) or {})
        qk_norm = attention.pop("qk_norm", "none")
        fields: dict[str, Any] = {
            "qk_norm": {True: "l2", False: "none", None: "none"}.get(qk_norm, qk_norm),
            "ff_mult": feed_forward.pop("mult", 4.0),
            "adaln_per_block": layout == "lova",
        }
        refused += [f"attn_kwargs.{name}" for name in attention]
        refused += [f"ff_kwargs.{name}" for name in feed_forward]

        learned, sinusoidal = left.pop("use_abs_pos_emb", False), left.pop("use_sinusoidal_emb", False)
        fields["max_positions"] = left.pop("abs_pos_emb_max_length", 3000 if layout == "lova" else 10000)
        if learned or sinusoidal:
            fields["positions"] = "sinusoidal" if sinusoidal else "learned"
            fields["context_positions"] = layout == "lova"
        for name in (
            "io_channels", "embed_dim", "depth", "num_heads", "patch_size", "cond_token_dim",
            "project_cond_tokens", "global_cond_dim", "project_global_cond", "global_cond_type",
            "prepend_cond_dim", "input_concat_dim", "num_memory_tokens",
        ):  # fmt: skip
            if name in left:
                fields[name] = left.pop(name)
        refused += left
        if refused:
            raise ValueError(f"unknown or unsupported DiT options: {', '.join(sorted(refused))}")
        return cls(**fields)


@dataclass(frozen=True)
class Prepared:
    """What a `DiT` needs of its conditions and can be computed once for all steps of a sampling.

    `keys_values` holds, for every block, cross-attention keys and values [B, S, context_heads, head_dim].
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...] = ()
    context_mask: Tensor | None = None
    global_embed: Tensor | None = None
    prepend: Tensor | None = None
    concat: Tensor | None = None
    mask: Tensor | None = None


class LayerNorm(nn.Module):
    """Layer norm with a learned `gamma`; `beta` is a buffer, zero unless a checkpoint says otherwise."""

    beta: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta, 1e-5)


class Rotary(nn.Module):
    """Rotary positions on the first `max(head_dim / 2, 32)` channels of a head (all of a narrower one).

    Channel i of the first half turns with channel i of the second.
    """

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        width = min(max(head_dim // 2, 32), head_dim)
        width -= width % 2
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, width, 2).float() / width))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [length, 1, 1, width] in float32; the sines of the first half are negated."""
        angles = torch.outer(torch.arange(length, device=self.inv_freq.device).float(), self.inv_freq.float())
        cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate_(x: Tensor, rotary: tuple[Tensor, Tensor]) -> None:
    """Rotates, in place, the leading channels of x [B, N, any, heads, head_dim] by the angles of their positions."""
    cos, sin = rotary
    width = cos.shape[-1]
    turned = x[..., :width].float()
    x[..., :width] = turned * cos + turned.roll(width // 2, dims=-1) * sin


class Attention(nn.Module):
    """Normalisation of queries and keys, heads, and the output map: what both attentions share."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.qk_norm = config.num_heads, config.head_dim, config.qk_norm
        self.to_out = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        nn.init.zeros_(self.to_out.weight)
        if config.qk_norm == "ln":
            self.q_norm = nn.LayerNorm(config.head_dim, eps=1e-6)
            self.k_norm = nn.LayerNorm(config.head_dim, eps=1e-6)

    def normed(self, x: Tensor, which: Literal["q", "k"]) -> Tensor:
        if self.qk_norm == "l2":
            return F.normalize(x, dim=-1)
        if self.qk_norm == "ln":
            return self.q_norm(x) if which == "q" else self.k_norm(x)
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """q [B, N, heads, head_dim], k and v [B, S, heads or fewer, head_dim]; gives [B, N, embed_dim].

        `mask` [B, S] is true where a key may be seen. Consecutive heads of q share one of k and v; they stand
        as further rows before it, so nothing is repeated.
        """
        allowed = None if mask is None else mask[:, None, None, :]
        batch, length, _, width = q.shape
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        out = F.scaled_dot_product_attention(q.reshape(batch, k.shape[1], -1, width), k, v, attn_mask=allowed)
        return self.to_out(out.unflatten(2, (-1, length)).permute(0, 3, 1, 2, 4).flatten(2))


class SelfAttention(Attention):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.to_qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, -1, self.head_dim))
        turning, v = qkv[:, :, :2], qkv[:, :, 2]
        if self.qk_norm != "none":
            q, k = turning.unbind(2)
            turning = torch.stack((self.normed(q, "q"), self.normed(k, "k")), dim=2)
        rotate_(turning, rotary)
        q, k = turning.unbind(2)
        return self.attend(q, k, v, mask)


class CrossAttention(Attention):
    """Attention to the context, whose heads may be fewer: each then serves consecutive query heads."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.to_q = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.to_kv = nn.Linear(config.context_dim, 2 * config.context_dim, bias=False)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self.to_kv(context).unflatten(-1, (2, -1, self.head_dim)).unbind(2)
        return self.normed(k, "k"), v

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        q = self.to_q(x).unflatten(-1, (-1, self.head_dim))
        return self.attend(self.normed(q, "q"), *keys_values, mask)


class GatedLinear(nn.Module):
    """SwiGLU's first half: value * SiLU(gate)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.silu(gate).mul_(value)  # in place: this is the widest tensor of the network


class FeedForward(nn.Module):
    def __init__(self, dim: int, mult: float) -> None:
        super().__init__()
        inner = int(dim * mult)
        out = nn.Linear(inner, dim)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.ff = nn.Sequential(GatedLinear(dim, inner), nn.Identity(), out)  # the names are ff.0 and ff.2

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each on a norm of the stream and added back to it."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.pre_norm = LayerNorm(dim)
        self.self_attn = SelfAttention(config)
        self.cross = config.cond_token_dim > 0
        if self.cross:
            self.cross_attend_norm = LayerNorm(dim)
            self.cross_attn = CrossAttention(config)
        self.ff_norm = LayerNorm(dim)
        self.ff = FeedForward(dim, config.ff_mult)
        self.adaln = config.global_cond_type == "adaLN"
        if self.adaln and config.adaln_per_block:
            linear = nn.Linear(dim, 6 * dim, bias=False)
            nn.init.zeros_(linear.weight)
            self.to_scale_shift_gate: nn.Module | nn.Parameter = nn.Sequential(nn.SiLU(), linear)
        elif self.adaln:
            self.to_scale_shift_gate = nn.Parameter(torch.randn(6 * dim) / dim**0.5)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        keys_values: tuple[Tensor, Tensor] | None,
        context_mask: Tensor | None,
        mask: Tensor | None,
        modulation: Tensor | None,
    ) -> Tensor:
        if not self.adaln:
            x = x + self.self_attn(self.pre_norm(x), rotary, mask)
            if keys_values is not None:
                x = x + self.cross_attn(self.cross_attend_norm(x), keys_values, context_mask)
            return x + self.ff(self.ff_norm(x))

        own = self.to_scale_shift_gate
        assert modulation is not None, "adaptive norms are always given their modulation"
        six = own(modulation) if isinstance(own, nn.Module) else modulation + own
        scale_a, shift_a, gate_a, scale_f, shift_f, gate_f = six[:, None].chunk(6, dim=-1)
        attended = self.self_attn(self.pre_norm(x) * (1 + scale_a) + shift_a, rotary, mask)
        x = x + attended * torch.sigmoid(1 - gate_a)
        if keys_values is not None:
            x = x + self.cross_attn(self.cross_attend_norm(x), keys_values, context_mask)
        return x + self.ff(self.ff_norm(x) * (1 + scale_f) + shift_f) * torch.sigmoid(1 - gate_f)


class LearnedPositions(nn.Module):
    """A table of position vectors, scaled by dim ** -0.5."""

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(length, dim)

    def forward(self, length: int) -> Tensor:
        if length > self.emb.num_embeddings:
            raise ValueError(f"{length} tokens, but the table of positions ends at {self.emb.num_embeddings}")
        return self.emb.weight[:length] * self.emb.embedding_dim**-0.5


class SinusoidalPositions(nn.Module):
    """[sin, cos] of the position over wavelengths up to 10000, times a learned scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.full((1,), dim**-0.5))

    def forward(self, length: int) -> Tensor:
        half, device = self.dim // 2, self.scale.device
        speeds = 10000.0 ** (-torch.arange(half, device=device).float() / half)
        angles = torch.outer(torch.arange(length, device=device).float(), speeds)
        return torch.cat((angles.sin(), angles.cos()), dim=-1) * self.scale


def _positions(config: DiTConfig, dim: int) -> nn.Module:
    learned = config.positions == "learned"
    return LearnedPositions(dim, config.max_positions) if learned else SinusoidalPositions(dim)


class Transformer(nn.Module):
    """The stack of blocks with its positions, memory tokens, and maps in and out."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim, patch = config.embed_dim, config.patch_size
        self.project_in = nn.Linear(config.input_dim * patch, dim, bias=False)
        self.project_out = nn.Linear(dim, config.io_channels * patch, bias=False)
        self.rotary_pos_emb = Rotary(config.head_dim)
        self.pos_emb = self.pos_emb_cond = None
        if config.positions != "none":
            self.pos_emb = _positions(config, dim)
            if config.context_positions and config.cond_token_dim:
                self.pos_emb_cond = _positions(config, config.context_dim)
        if config.num_memory_tokens:
            self.memory_tokens = nn.Parameter(torch.randn(config.num_memory_tokens, dim))
        self.memory = config.num_memory_tokens
        self.global_cond_embedder: nn.Module | None = None
        if config.global_cond_type == "adaLN" and not config.adaln_per_block:
            last = nn.Linear(dim, 6 * dim)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.global_cond_embedder = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), last)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))

    def context(self, context: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of every block for projected context tokens [B, S, context_dim]."""
        if self.pos_emb_cond is not None:
            context = context + self.pos_emb_cond(context.shape[1])
        return tuple(layer.cross_attn.keys_values(context) for layer in self.layers)  # type: ignore

    def forward(
        self,
        x: Tensor,
        lead: Tensor | None,
        prepared: Prepared,
        global_embed: Tensor | None,
        residuals: Sequence[Tensor] | None,
    ) -> list[Tensor]:
        """The stream after every block, [B, memory + lead + N, embed_dim].

        x [B, N, input_dim * patch_size]; lead [B, P, embed_dim] stands before it; global_embed [B, embed_dim]
        is given where the norms are adaptive; residual i is added to the input of block i.
        """
        x = self.project_in(x)
        latents = x.shape[1]
        if lead is not None:
            x = torch.cat((lead, x), dim=1)
        if self.memory:
            x = torch.cat((self.memory_tokens.expand(x.shape[0], -1, -1), x), dim=1)
        if self.pos_emb is not None:
            x = x + self.pos_emb(x.shape[1])
        mask = prepared.mask
        if mask is not None:
            mask = F.pad(mask, (x.shape[1] - latents, 0), value=True)
        modulation = global_embed
        if self.global_cond_embedder is not None and global_embed is not None:
            modulation = self.global_cond_embedder(global_embed)
        rotary = self.rotary_pos_emb(x.shape[1])
        hidden = []
        for i, layer in enumerate(self.layers):
            if residuals is not None and i < len(residuals):
                x = x + residuals[i]
            keys_values = prepared.keys_values[i] if prepared.keys_values else None
            x = layer(x, rotary, keys_values, prepared.context_mask, mask, modulation)
            hidden.append(x)
        return hidden


class TimeFeatures(nn.Module):
    """Fourier features of the time: [cos, sin] of 2 pi t w with learned w, 256 in all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(128, 1))

    def forward(self, t: Tensor) -> Tensor:
        # Phases of many radians: never in half precision, also not under autocast.
        exact = torch.promote_types(self.weight.dtype, torch.float32)
        angles = 2 * math.pi * t[:, None].to(exact) * self.weight[:, 0].to(exact)
        return torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.weight.dtype)


def _mlp(dim_in: int, dim: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim_in, dim, bias=bias), nn.SiLU(), nn.Linear(dim, dim, bias=bias))


class DiT(nn.Module):
    """Predicts from a noisy latent x [B, io_channels, T] at time t [B] in 0..1 (1 is pure noise).

    Conditions, all optional: `cross` [B, S, cond_token_dim] tokens to attend to, with `context_mask` [B, S]
    true at the real ones (the published models have no masks); `global_cond` [B, global_cond_dim]; `prepend`
    [B, P, prepend_cond_dim] tokens put before the latents; `concat` [B, input_concat_dim, L] channels put
    under the latents (nearest neighbour if L is not T); `mask` [B, T] true at real latents. A condition that
    is not given is left out, except `concat`, which a network built with it needs.

    `residuals` (from a control branch) are added to the inputs of the first blocks. A network starts as a
    linear map of its input, for every branch ends in a zero. The published training code also halves all
    first values; ours does not.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.timestep_features = TimeFeatures()
        self.to_timestep_embed = _mlp(256, dim, bias=True)
        if config.cond_token_dim:
            self.to_cond_embed = _mlp(config.cond_token_dim, config.context_dim, bias=False)
        if config.global_cond_dim:
            self.to_global_embed = _mlp(config.global_cond_dim, config.global_dim, bias=False)
        if config.prepend_cond_dim:
            self.to_prepend_embed = _mlp(config.prepend_cond_dim, dim, bias=False)
        self.preprocess_conv = nn.Conv1d(config.input_dim, config.input_dim, 1, bias=False)
        self.postprocess_conv = nn.Conv1d(config.io_channels, config.io_channels, 1, bias=False)
        nn.init.zeros_(self.preprocess_conv.weight)
        nn.init.zeros_(self.postprocess_conv.weight)
        self.transformer = Transformer(config)

    def prepare(
        self,
        *,
        cross: Tensor | None = None,
        global_cond: Tensor | None = None,
        prepend: Tensor | None = None,
        concat: Tensor | None = None,
        context_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Prepared:
        """Everything about the conditions that does not depend on x and t. Arguments as for the class.

        Raises ValueError for a condition this network has no input for, or of the wrong width.
        """
        c = self.config
        _check("cross", cross, c.cond_token_dim, dim=2)
        _check("global_cond", global_cond, c.global_cond_dim, dim=1)
        _check("prepend", prepend, c.prepend_cond_dim, dim=2)
        _check("concat", concat, c.input_concat_dim, dim=1)
        if c.input_concat_dim and concat is None:
            raise ValueError(f"this DiT needs concat [B, {c.input_concat_dim}, T]")
        return Prepared(
            keys_values=() if cross is None else self.transformer.context(self.to_cond_embed(cross)),
            context_mask=None if cross is None or context_mask is None else context_mask.bool(),
            global_embed=None if global_cond is None else self.to_global_embed(global_cond),
            prepend=None if prepend is None else self.to_prepend_embed(prepend),
            concat=concat,
            mask=None if mask is None else mask.bool(),
        )

    def inputs(self, x: Tensor, prepared: Prepared) -> Tensor:
        """The latent with its concatenated channels, after the first convolution: [B, input_dim, T]."""
        if x.shape[-1] % self.config.patch_size:
            raise ValueError(f"{x.shape[-1]} latents do not fill patches of {self.config.patch_size}")
        if prepared.concat is not None:
            concat = prepared.concat
            if concat.shape[-1] != x.shape[-1]:
                concat = F.interpolate(concat, size=x.shape[-1], mode="nearest")
            x = torch.cat((x, concat), dim=1)
        return self.preprocess_conv(x) + x

    def hidden(
        self, x: Tensor, t: Tensor, prepared: Prepared, residuals: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """The token stream after every block for `inputs(x)`; memory and prepended tokens stand in front."""
        embed = self.to_timestep_embed(self.timestep_features(t))
        if prepared.global_embed is not None:
            embed = embed + prepared.global_embed
        lead = [] if prepared.prepend is None else [prepared.prepend]
        adaptive = self.config.global_cond_type == "adaLN"
        if not adaptive:
            lead.append(embed[:, None])
        patch = self.config.patch_size
        tokens = x.unflatten(2, (-1, patch)).permute(0, 2, 1, 3).flatten(2)  # b c (t p) -> b t (c p)
        if prepared.mask is not None and patch > 1:
            raise ValueError("a latent mask with patch_size over 1 is not supported")
        return self.transformer(
            tokens, torch.cat(lead, dim=1) if lead else None, prepared, embed if adaptive else None, residuals
        )

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        cross: Tensor | None = None,
        global_cond: Tensor | None = None,
        prepend: Tensor | None = None,
        concat: Tensor | None = None,
        context_mask: Tensor | None = None,
        mask: Tensor | None = None,
        prepared: Prepared | None = None,
        residuals: Sequence[Tensor] | None = None,
        return_hidden: bool = False,
    ) -> Any:
        """The prediction [B, io_channels, T]; with `return_hidden` also the streams after every block.

        Give either conditions or what `prepare` made of them.
        """
        if prepared is None:
            prepared = self.prepare(
                cross=cross, global_cond=global_cond, prepend=prepend, concat=concat,
                context_mask=context_mask, mask=mask,
            )  # fmt: skip
        patch = self.config.patch_size
        hidden = self.hidden(self.inputs(x, prepared), t, prepared, residuals)
        latents = hidden[-1][:, -(x.shape[-1] // patch) :]
        out = self.transformer.project_out(latents).transpose(1, 2)
        out = out.unflatten(1, (-1, patch)).transpose(2, 3).flatten(2)  # b (c p) t -> b c (t p)
        out = self.postprocess_conv(out) + out
        return (out, hidden) if return_hidden else out


def _check(name: str, value: Tensor | None, width: int, dim: int) -> None:
    if value is None:
        return
    if not width:
        raise ValueError(f"this DiT has no input for {name}")
    if value.shape[dim] != width:
        raise ValueError(f"{name} is {value.shape[dim]} wide; this DiT expects {width}")
