"""LanguageBind's video tower (Zhu et al. 2024): CLIP's vision transformer whose layers first look along time.

Written from the description, under the key names of `LanguageBind/LanguageBind_Video_FT` (MIT), which was tuned as a
whole. `LanguageBind_Video` is another file: its attention has adapters (LoRA) beside it, which are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synchresis.nn.vit import attend


@dataclass(frozen=True)
class LanguageBindConfig:
    """Sizes of the tower; the defaults are the published ones. `num_frames` pictures are looked at together."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    projection_dim: int = 768
    num_frames: int = 8

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LanguageBindConfig:
        """Raises TypeError for an unknown field."""
        return cls(**values)


class SplitAttention(nn.Module):
    """Self-attention with a matrix each for queries, keys and values: [B, N, D] to the same."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads))


class QuickMlp(nn.Module):
    """Two layers with CLIP's quick GELU between them."""

    def __init__(self, dim: int, inside: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, inside), nn.Linear(inside, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class Layer(nn.Module):
    """[B, T, N, D] to the same: every token looks along time at its own place, then at its own picture."""

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        dim, heads = config.hidden_size, config.num_attention_heads
        self.temporal_embedding = nn.Parameter(torch.zeros(1, config.num_frames, dim))
        self.temporal_attn = SplitAttention(dim, heads)
        self.temporal_layer_norm1 = nn.LayerNorm(dim)
        self.self_attn = SplitAttention(dim, heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = QuickMlp(dim, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.temporal_embedding[:, :, None]
        along = self.temporal_layer_norm1(x).transpose(1, 2)
        x = x + self.temporal_attn(along).transpose(1, 2)
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        dim, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.randn(dim))
        self.patch_embedding = nn.Conv2d(3, dim, patch, patch, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, dim)

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.patch_embedding(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        return tokens + self.position_embedding.weight


class VisionModel(nn.Module):
    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size)  # the published spelling
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size)

    def forward(self, video: Tensor) -> Tensor:
        """[B, T, 3, H, W] to the class token of each picture [B, T, D]."""
        x = self.pre_layrnorm(self.embeddings(video.flatten(0, 1))).unflatten(0, video.shape[:2])
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            x = layer(x)
        return self.post_layernorm(x[:, :, 0])


class LanguageBindVideo(nn.Module):
    """Video [B, num_frames, 3, side, side], with CLIP's mean and spread taken off, to features [B, num_frames, 768].

    LanguageBind's own embedding of the video is their mean over time, made a unit vector.
    """

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, video: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(video))


IGNORED = {
    r"text_model\..*|text_projection\..*": "LanguageBind's text tower: only pictures are looked at",
    r"logit_scale": "a scale of similarities: only embeddings are used",
    r"vision_model\.embeddings\.position_ids": "a list of numbers 0, 1, 2 … that is not learned",
}
