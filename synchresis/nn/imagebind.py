"""ImageBind huge (Girdhar et al. 2023): vision, sound and text in one space of 1024 numbers ("Encoders", section 8).

Three plain pre-norm transformers under the key names of `imagebind_huge.pth`, written from the description. The
published weights are CC BY-NC-SA 4.0: for measuring, not for products. Its towers for depth, heat and motion sensors
are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank
from synchresis.nn.vit import Mlp, attend

RATE = 16_000
CLIP = 2 * RATE            # samples of a clip of sound
CLIPS = 3                  # of them per sound, evenly placed
BANDS, FRAME, HOP, FFT = 128, 400, 160, 512
MEL_FRAMES = 204
PICTURE_MEAN = (0.48145466, 0.4578275, 0.40821073)
PICTURE_STD = (0.26862954, 0.26130258, 0.27577711)
IGNORED = {
    r"modality_(preprocessors|trunks|heads|postprocessors)\.(depth|thermal|imu)\..*": "of a modality that is not used"
}


@dataclass(frozen=True)
class TowerConfig:
    dim: int
    depth: int
    heads: int
    tokens: int                # without the class token


@dataclass(frozen=True)
class ImageBindConfig:
    vision: TowerConfig = TowerConfig(1280, 32, 16, 256)
    audio: TowerConfig = TowerConfig(768, 12, 12, 228)
    text: TowerConfig = TowerConfig(1024, 24, 16, 77)
    vision_patch: int = 14
    audio_patch: int = 16
    audio_stride: int = 10
    vocabulary: int = 49_408
    out: int = 1024


# Front ends


def clip_starts(count: int) -> list[int]:
    """First samples of the three clips of a sound: at 0, in the middle, at the end.

    As the sampler revision does that ImageBind and av-benchmark pin; its packaged release gives others.
    """
    free = max(count - CLIP, 0) / RATE
    return [int(i * free / (CLIPS - 1) * RATE) for i in range(CLIPS)]


def mel_clips(clips: Tensor) -> Tensor:
    """16 kHz clips of 2 s [..., 32 000], channel one of a sound, to normalised mel pictures [..., 1, 128, 204].

    Kaldi's filter bank: frames lose their mean, then are pre-emphasised, then windowed (symmetric Hann). Short of 204
    frames, zeros follow before the normalisation; a clip must hold at least one frame of 400 samples.
    """
    x = clips - clips.mean(-1, keepdim=True)
    frames = x.unfold(-1, FRAME, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    window = torch.hann_window(FRAME, periodic=False, dtype=x.dtype, device=x.device)
    spectrum = torch.fft.rfft((frames - 0.97 * before) * window, FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = torch.from_numpy(mel_bank(BANDS, FFT, RATE, 20.0, RATE / 2, "htk", area_norm=False, triangles="mel"))
    mel = torch.log((power @ bank.T.to(power)).clamp_min(torch.finfo(torch.float32).eps)).transpose(-1, -2)
    mel = F.pad(mel[..., :MEL_FRAMES], (0, max(0, MEL_FRAMES - mel.shape[-1])))
    return ((mel + 4.268) / 9.138)[..., None, :, :]


def normalise_picture(frames: Tensor) -> Tensor:
    """Frames [..., 3, H, W] in 0..1 to zero mean and unit variance, CLIP's constants."""
    mean, std = (torch.tensor(v, device=frames.device)[:, None, None] for v in (PICTURE_MEAN, PICTURE_STD))
    return (frames - mean) / std


# Blocks


class BoundAttention(nn.Module):
    """Self-attention; with `extra` a learned key and value stand behind all others."""

    def __init__(self, dim: int, heads: int, extra: bool, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, dim)) if extra else None
        self.bias_v = nn.Parameter(torch.zeros(1, 1, dim)) if extra else None
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(x), -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(x), -1, -1)], 1)
        return self.out_proj(attend(q, k, v, self.heads, self.causal))


class BoundBlock(nn.Module):
    def __init__(self, dim: int, heads: int, extra: bool, causal: bool) -> None:
        super().__init__()
        self.attn = BoundAttention(dim, heads, extra, causal)
        self.norm_1, self.norm_2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))


class Trunk(nn.Module):
    def __init__(
        self, config: TowerConfig, extra: bool = False, causal: bool = False, norm_first: bool = False
    ) -> None:
        super().__init__()
        if norm_first:
            self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(config.dim, eps=1e-6))
        self.norm_first = norm_first
        self.blocks = nn.ModuleList([BoundBlock(config.dim, config.heads, extra, causal) for _ in range(config.depth)])

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x)
        return x


class Positions(nn.Module):
    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, count, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_embed


class Stem(nn.Module):
    def __init__(self, proj: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.proj = proj
        if norm is not None:
            self.norm_layer = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        return self.norm_layer(x) if hasattr(self, "norm_layer") else x


class Pictured(nn.Module):
    """Something with patches, and a class token before them, to tokens."""

    def __init__(self, stem: Stem, config: TowerConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.rgbt_stem = stem
        self.pos_embedding_helper = Positions(1 + config.tokens, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.pos_embedding_helper(torch.cat([self.cls_token.expand(len(x), -1, -1), self.rgbt_stem(x)], 1))


class Written(nn.Module):
    """Ids [B, 77] to tokens. `mask` is in the published file; the trunk's own causality equals it."""

    mask: Tensor

    def __init__(self, config: TowerConfig, vocabulary: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        self.register_buffer("mask", torch.full((config.tokens, config.tokens), -math.inf).triu(1))
        self.token_embedding = nn.Embedding(vocabulary, config.dim)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.pos_embed


class First(nn.Module):
    """The class token."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class LogScale(nn.Module):
    """Times exp of a number that the file holds."""

    log_logit_scale: Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("log_logit_scale", torch.tensor(math.log(value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log_logit_scale.exp()


def class_head(dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(dim, eps=1e-6), First(), nn.Linear(dim, out, bias=False))


class ImageBind(nn.Module):
    """The towers that are asked for; each method is for one of them, and the state has the keys of those alone."""

    def __init__(
        self, config: ImageBindConfig | None = None, towers: Sequence[str] = ("vision", "audio", "text")
    ) -> None:
        super().__init__()
        config = config or ImageBindConfig()
        self.config = config
        self.modality_preprocessors = nn.ModuleDict()
        self.modality_trunks = nn.ModuleDict()
        self.modality_heads = nn.ModuleDict()
        self.modality_postprocessors = nn.ModuleDict()
        if "vision" in towers:
            c, patch = config.vision, config.vision_patch
            size = (2, patch, patch)
            # Two steps, the first of which (a still repeated) holds no weights.
            proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, c.dim, size, size, bias=False))
            self.modality_preprocessors["vision"] = Pictured(Stem(proj, None), c)
            self.modality_trunks["vision"] = Trunk(c, norm_first=True)
            self.modality_heads["vision"] = class_head(c.dim, config.out)
        if "audio" in towers:
            c = config.audio
            conv = nn.Conv2d(1, c.dim, config.audio_patch, config.audio_stride, bias=False)
            self.modality_preprocessors["audio"] = Pictured(Stem(conv, nn.LayerNorm(c.dim)), c)
            self.modality_trunks["audio"] = Trunk(c, extra=True)
            self.modality_heads["audio"] = class_head(c.dim, config.out)
            self.modality_postprocessors["audio"] = nn.Sequential(nn.Identity(), LogScale(20.0))
        if "text" in towers:
            c = config.text
            self.modality_preprocessors["text"] = Written(c, config.vocabulary)
            self.modality_trunks["text"] = Trunk(c, causal=True)
            layers = nn.Sequential(nn.LayerNorm(c.dim, eps=1e-6), nn.Linear(c.dim, config.out, bias=False))
            self.modality_heads["text"] = nn.ModuleDict({"proj": layers})
            self.modality_postprocessors["text"] = nn.Sequential(nn.Identity(), LogScale(1 / 0.07))

    def _through(self, tower: str, x: Tensor) -> Tensor:
        return self.modality_trunks[tower](self.modality_preprocessors[tower](x))

    def vision(self, clips: Tensor) -> Tensor:
        """[B, K, 3, 2, 224, 224], normalised (a still: the same frame twice), to the mean over K of unit vectors."""
        x = F.normalize(self.modality_heads["vision"](self._through("vision", clips.flatten(0, 1))), dim=-1)
        return x.reshape(*clips.shape[:2], -1).mean(1)

    def audio(self, mel: Tensor) -> Tensor:
        """[B, K, 1, 128, 204] to the mean over K of vectors of length 20: [B, 1024]. Take a true cosine of it."""
        x = F.normalize(self.modality_heads["audio"](self._through("audio", mel.flatten(0, 1))), dim=-1)
        return self.modality_postprocessors["audio"](x).reshape(*mel.shape[:2], -1).mean(1)

    def text(self, ids: Tensor) -> Tensor:
        """CLIP's tokens [B, 77], padded with zeros, to [B, 1024]; read at the largest id, which ends the text."""
        x = self._through("text", ids)
        ends = x[torch.arange(len(x), device=x.device), ids.argmax(-1)]
        x = F.normalize(self.modality_heads["text"]["proj"](ends), dim=-1)  # type: ignore[index]
        return self.modality_postprocessors["text"](x)


class ImageBindVision(ImageBind):
    """The vision tower alone, for systems that look through it: clips [B, K, 3, 2, 224, 224] to [B, 1024]."""

    def __init__(self, config: ImageBindConfig | None = None) -> None:
        super().__init__(config, ("vision",))

    def forward(self, clips: Tensor) -> Tensor:
        return self.vision(clips)
