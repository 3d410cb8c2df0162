"""BEATs: a sound as tokens, 8 for every 160 ms (Chen et al. 2022; TempoTokens spec section 3).

Patches of 16 x 16 cells of a log-mel picture go through a transformer whose attention knows relative positions by a
gated bias. Sizes come from the `cfg` that a published checkpoint holds; parameters carry the published names, with the
old names of the weight norm (`encoder.pos_conv.0.weight_g`) and the bias table repeated under every layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16  # cells of the picture, in time and in frequency


@dataclass(frozen=True)
class BeatsConfig:
    """Sizes and switches of the checkpoint's `cfg`; the defaults are those of the published iter3+ file."""

    embed_dim: int = 512
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    deep_norm: bool = True
    layer_norm_first: bool = False
    relative_position_embedding: bool = True
    gru_rel_pos: bool = True
    conv_bias: bool = False
    finetuned_model: bool = True
    predictor_class: int = 527

    @classmethod
    def from_cfg(cls, cfg: Mapping[str, Any]) -> BeatsConfig:
        """From the dictionary of a checkpoint. Raises ValueError for what this network does not do, KeyError for gaps.
        """
        if cfg.get("activation_fn", "gelu") != "gelu" or int(cfg.get("input_patch_size", PATCH)) != PATCH:
            raise ValueError(f"BEATs with {cfg.get('activation_fn')} and patches of {cfg.get('input_patch_size')}")
        taken = {name: cfg[name] for name in cls.__dataclass_fields__ if name != "predictor_class"}
        classes = int(cfg.get("predictor_class", 0)) if cfg["finetuned_model"] else 0
        config = cls(**taken, predictor_class=classes)
        if config.layer_norm_first or not (config.relative_position_embedding and config.gru_rel_pos):
            raise ValueError("BEATs without post-norm and the gated relative bias was never published")
        return config


@dataclass(frozen=True)
class Heard:
    """`patches` [B, embed, T', 8]; `layers`, the output of each, [B, 8 T', D]; `outside` [B, 8 T'], True where no
    sound was (None: everywhere was).
    """

    patches: Tensor
    layers: tuple[Tensor, ...]
    outside: Tensor | None

    @property
    def concatenated(self) -> Tensor:
        """All layers side by side, the first one first: [B, 8 T', layers * D]."""
        return torch.cat(self.layers, -1)


class Beats(nn.Module):
    """Normalised filter banks [B, T, 128] to tokens. Time comes first, the 8 bands of one time side by side."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, PATCH, PATCH, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        if config.embed_dim != config.encoder_embed_dim:
            self.post_extract_proj = nn.Linear(config.embed_dim, config.encoder_embed_dim)
        self.encoder = _Encoder(config)
        if config.finetuned_model:
            self.predictor = nn.Linear(config.encoder_embed_dim, config.predictor_class)

    def forward(self, bank: Tensor, outside: Tensor | None = None) -> Heard:
        """`outside` [B, T] is True for frames of the bank that are padding: a token is outside if all of its are."""
        patches = self.patch_embedding(bank[:, None])
        x = self.layer_norm(patches.flatten(2).transpose(1, 2))
        if outside is not None:
            outside = whole_cells(outside, x.shape[1])
        if self.config.embed_dim != self.config.encoder_embed_dim:
            x = self.post_extract_proj(x)
        return Heard(patches, self.encoder(x, outside), outside)

    def classes(self, heard: Heard) -> Tensor:
        """Probabilities [B, classes] of the fine-tuned head: the mean of its logits over tokens that hold sound."""
        logits = self.predictor(heard.layers[-1])
        if heard.outside is None:
            return logits.mean(1).sigmoid()
        inside = ~heard.outside[..., None]
        return ((logits * inside).sum(1) / inside.sum(1)).sigmoid()


def whole_cells(outside: Tensor, cells: int) -> Tensor:
    """A mask [B, n] over `cells` equal stretches, True where a stretch is True throughout; the rest at the end of n
    that fills none is left out.
    """
    length = outside.shape[1] - outside.shape[1] % cells
    return outside[:, :length].unflatten(1, (cells, -1)).all(-1)


class _Encoder(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(_PositionConv(config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups))
        layers = [_Layer(config) for _ in range(config.encoder_layers)]
        for layer in layers[1:]:
            layer.self_attn.relative_attention_bias = layers[0].self_attn.relative_attention_bias
        self.layers = nn.ModuleList(layers)
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)

    def forward(self, x: Tensor, outside: Tensor | None) -> tuple[Tensor, ...]:
        if outside is not None:
            x = x.masked_fill(outside[..., None], 0.0)
        x = self.layer_norm(x + F.gelu(self.pos_conv(x.transpose(1, 2))).transpose(1, 2))
        first: Any = self.layers[0]
        bias = first.self_attn.bias(x.shape[1])
        outputs = []
        for layer in self.layers:
            x = layer(x, bias, outside)
            outputs.append(x)
        return tuple(outputs)


class _PositionConv(nn.Module):
    """A grouped convolution over [B, D, N] whose weight is normed per tap, under the names of the old weight norm."""

    def __init__(self, dim: int, taps: int, groups: int) -> None:
        super().__init__()
        self.groups, self.padding, self.even = groups, taps // 2, taps % 2 == 0
        self.bias = nn.Parameter(torch.zeros(dim))
        self.weight_g = nn.Parameter(torch.ones(1, 1, taps))
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, taps))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (taps * dim)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        y = F.conv1d(x, weight, self.bias, padding=self.padding, groups=self.groups)
        return y[..., :-1] if self.even else y


class _Layer(nn.Module):
    """Attention, then a network on each token; DeepNorm's factor before each norm."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim = config.encoder_embed_dim
        self.residual = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.self_attn = _Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
        x = self.self_attn_layer_norm(self.residual * x + self.self_attn(x, bias, outside))
        hidden = F.gelu(self.fc1(x).float()).to(x)
        return self.final_layer_norm(self.residual * x + self.fc2(hidden))


class _Attention(nn.Module):
    """Self-attention with a bias by distance, which each token weighs for itself."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.buckets, self.farthest = config.num_buckets, config.max_distance
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.relative_attention_bias = nn.Embedding(config.num_buckets, self.heads)
        self.grep_linear = nn.Linear(dim // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def bias(self, tokens: int) -> Tensor:
        """[heads, tokens, tokens] by the distance of key from query, before any gate."""
        place = torch.arange(tokens, device=self.grep_a.device)
        distance = place[None, :] - place[:, None]
        return self.relative_attention_bias(buckets(distance, self.buckets, self.farthest)).permute(2, 0, 1)

    def forward(self, x: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        gate = torch.sigmoid(self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1))
        gate_a, gate_b = gate.chunk(2, -1)
        mask = (gate_a * (gate_b * self.grep_a - 1.0) + 2.0) * bias
        if outside is not None:
            mask = mask.masked_fill(outside[:, None, None], -torch.inf)
        # The published code scales the query by 1/32 and the logits back, less their maximum: the same softmax.
        answer = F.scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(answer.transpose(1, 2).flatten(2))


def buckets(distance: Tensor, count: int, farthest: int) -> Tensor:
    """T5's buckets of signed distances: half for each side, half of those exact, the others logarithmic."""
    side = count // 2
    exact = side // 2
    size = distance.abs()
    far = exact + (torch.log(size.float() / exact) / math.log(farthest / exact) * (side - exact)).long()
    far = torch.where(size < exact, size, far.clamp_max(side - 1))
    return far + (distance > 0) * side
