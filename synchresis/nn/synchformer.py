"""Synchformer (Iashin et al. 2024): by how much sound and picture are out of step ("Encoders", section 6).

Both are cut into segments of 0.64 s every 0.32 s. A tower per modality turns each segment into a few vectors, and a
small transformer over 14 segments of both (4.8 s) says which of 21 offsets it hears, from -2 to 2 s in steps of 0.2 s.
Key names are those of the published file, with its four ways of naming the same kind of block.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank
from synchresis.nn.vit import Attention, Mlp, Patches, attend

RATE = 16_000            # Hz
PICTURE_RATE = 25        # frames a second
SEGMENT, STEP = 10_240, 5_120             # samples
PICTURE_SEGMENT, PICTURE_STEP = 16, 8     # frames
SEGMENTS = 14            # of a judgement: 4.8 s
OFFSETS = tuple(round(-2.0 + 0.2 * i, 1) for i in range(21))  # seconds, one per class

BANDS, FFT, WINDOW, HOP = 128, 1024, 400, 160
MEL_FRAMES = 66


@dataclass(frozen=True)
class SynchformerConfig:
    dim: int = 768
    depth: int = 12             # layers of each tower
    heads: int = 12
    patch: int = 16
    picture: int = 224          # pixels
    tubelet: int = 2            # frames of a patch
    frequencies: int = 12       # patches of a segment's mel picture
    times: int = 6
    head_depth: int = 3
    head_heads: int = 8
    segments: int = SEGMENTS
    classes: int = len(OFFSETS)


def mel_segments(segments: Tensor) -> Tensor:
    """16 kHz sound [..., 10 240] to normalised mel pictures [..., 128, 66].

    There are 65 frames; the 66th is a zero after the logarithm and before the normalisation.
    """
    flat = segments.reshape(-1, segments.shape[-1])
    window = torch.hann_window(WINDOW, dtype=flat.dtype, device=flat.device)
    spectrum = torch.stft(flat, FFT, HOP, WINDOW, window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = torch.from_numpy(mel_bank(BANDS, FFT, RATE, 0.0, RATE / 2, "htk", area_norm=False)).to(power)
    mel = torch.log(bank @ power + 1e-6)
    mel = F.pad(mel, (0, MEL_FRAMES - mel.shape[-1]))
    return ((mel + 4.2677393) / (2 * 4.5689974)).reshape(*segments.shape[:-1], BANDS, MEL_FRAMES)


class Aggregation(nn.TransformerEncoderLayer):
    """One pre-norm layer over [B, N, D] behind a class token of its own, which is the result: [B, D]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(
            dim, heads, 4 * dim, dropout=0.0, activation=F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1))[:, 0]


# Sound: an Audio Spectrogram Transformer (Gong et al. 2021) under the names that transformers gave it


class AstEmbeddings(nn.Module):
    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 2 + config.frequencies * config.times, dim))
        self.patch_embeddings = nn.Module()
        self.patch_embeddings.projection = nn.Conv2d(1, dim, config.patch, 10)

    def forward(self, mel: Tensor) -> Tensor:
        patches = self.patch_embeddings.projection(mel[:, None]).flatten(2).transpose(1, 2)  # type: ignore[operator]
        special = torch.cat([self.cls_token, self.distillation_token], 1).expand(len(mel), -1, -1)
        return torch.cat([special, patches], 1) + self.position_embeddings


class AstLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict({
            "attention": nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("query", "key", "value")}),
            "output": nn.ModuleDict({"dense": nn.Linear(dim, dim)}),
        })
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, 4 * dim)})
        self.output = nn.ModuleDict({"dense": nn.Linear(4 * dim, dim)})
        self.layernorm_before = nn.LayerNorm(dim, eps=1e-12)
        self.layernorm_after = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.layernorm_before(x)
        q, k, v = (self.attention.attention[name](normed) for name in ("query", "key", "value"))  # type: ignore
        x = x + self.attention.output.dense(attend(q, k, v, self.heads))  # type: ignore
        return x + self.output.dense(F.gelu(self.intermediate.dense(self.layernorm_after(x))))  # type: ignore


class Ast(nn.Module):
    """Mel pictures [B, 128, 66] to tokens [B, 2 + frequencies * times, D], the frequencies in the outer order."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        self.embeddings = AstEmbeddings(config)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList([AstLayer(config.dim, config.heads) for _ in range(config.depth)])}
        )
        self.layernorm = nn.LayerNorm(config.dim, eps=1e-12)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.embeddings(mel)
        for layer in self.encoder.layer:  # type: ignore
            x = layer(x)
        return self.layernorm(x)


class SoundTower(nn.Module):
    """Mel pictures [B, S, 128, 66] to [B, S, times, D]: per step of time, what its frequencies have to say."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        self.frequencies = config.frequencies
        self.ast = Ast(config)
        self.freq_attn_agg = Aggregation(config.dim, config.heads)

    def forward(self, mel: Tensor) -> Tensor:
        tokens = self.ast(mel.flatten(0, 1))[:, 2:]
        x = self.freq_attn_agg(rearrange(tokens, "b (f t) d -> (b t) f d", f=self.frequencies))
        return rearrange(x, "(b s t) d -> b s t d", b=len(mel), s=mel.shape[1])


# Picture: Motionformer (Patrick et al. 2021) with divided attention


class DividedAttention(Attention):
    """[B, 1 + T * S, D]: a location looks at the class token and over its group; the class token looks everywhere.

    The group is the same place in all frames (`over="time"`), or all places of the same frame.
    """

    def forward(self, x: Tensor, frames: int, over: str) -> Tensor:  # type: ignore[override]
        q, k, v = self.qkv(x).chunk(3, -1)
        seen = attend(q[:, :1], k, v, self.heads)
        grouped = "b (t s) d -> b s t d" if over == "time" else "b (t s) d -> b t s d"
        back = "b s t d -> b (t s) d" if over == "time" else "b t s d -> b (t s) d"
        places = rearrange(q[:, 1:], grouped, t=frames)
        keys, values = (
            torch.cat([y[:, None, :1].expand(-1, places.shape[1], -1, -1), rearrange(y[:, 1:], grouped, t=frames)], 2)
            for y in (k, v)
        )
        looked = rearrange(attend(places, keys, values, self.heads), back)
        return self.proj(torch.cat([seen, looked], 1))


class DividedBlock(nn.Module):
    """Attention over time, then over space, then the MLP. The norms keep the order in which they were added."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DividedAttention(dim, heads)
        self.timeattn = DividedAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = x + self.timeattn(self.norm3(x), frames, over="time")
        x = x + self.attn(self.norm1(x), frames, over="space")
        return x + self.mlp(self.norm2(x))


class PictureTower(nn.Module):
    """Segments [B, S, 3, 16, 224, 224] in -1..1 to [B, S, 8, D]: per pair of frames, what its places have to say.

    `patch_embed` (flat patches) is in the published file and not used.
    """

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        dim, patch, tubelet = config.dim, config.patch, config.tubelet
        places = (config.picture // patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + places, dim))
        self.temp_embed = nn.Parameter(torch.zeros(1, PICTURE_SEGMENT // tubelet, dim))
        self.patch_embed = Patches(nn.Conv2d(3, dim, patch, patch))
        size = (tubelet, patch, patch)
        self.patch_embed_3d = Patches(nn.Conv3d(3, dim, size, size))
        self.blocks = nn.ModuleList([DividedBlock(dim, config.heads) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.spatial_attn_agg = Aggregation(dim, config.heads)

    def forward(self, segments: Tensor) -> Tensor:
        batch, frames = len(segments), self.temp_embed.shape[1]
        x = rearrange(self.patch_embed_3d(segments.flatten(0, 1)), "b d t h w -> b t (h w) d")
        x = x + self.pos_embed[:, None, 1:] + self.temp_embed[:, :, None]
        special = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([special, x.flatten(1, 2)], 1)
        for block in self.blocks:
            x = block(x, frames)
        x = self.norm(x[:, 1:])
        x = self.spatial_attn_agg(rearrange(x, "b (t s) d -> (b t) s d", t=frames))
        return rearrange(x, "(b s t) d -> b s t d", b=batch, t=frames)


# Head


class HeadAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend(self.query(x), self.key(x), self.value(x), self.heads))


class HeadBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = HeadAttention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Positions(nn.Module):
    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.zeros(1, count, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_emb


class OffsetHead(nn.Module):
    """Vectors of the picture [B, V, D] and of the sound [B, A, D] to logits [B, classes]."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        dim = config.dim
        count = config.segments * (PICTURE_SEGMENT // config.tubelet + config.times)
        self.OFF_tok = nn.Parameter(torch.zeros(1, 1, dim))
        self.MOD_tok = nn.Parameter(torch.zeros(1, 1, dim))
        self.vis_in_lnorm, self.aud_in_lnorm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.pos_emb_cfg = Positions(2 + count, dim)
        self.blocks = nn.ModuleList([HeadBlock(dim, config.head_heads) for _ in range(config.head_depth)])
        self.ln_f = nn.LayerNorm(dim)
        self.off_head = nn.Linear(dim, config.classes)

    def forward(self, picture: Tensor, sound: Tensor) -> Tensor:
        off, mod = (token.expand(len(picture), -1, -1) for token in (self.OFF_tok, self.MOD_tok))
        x = self.pos_emb_cfg(torch.cat([off, self.vis_in_lnorm(picture), mod, self.aud_in_lnorm(sound)], 1))
        for block in self.blocks:
            x = block(x)
        return self.off_head(self.ln_f(x[:, 0]))


class Synchformer(nn.Module):
    """`picture` and `sound` give the vectors of segments, `offsets` the logits over `OFFSETS`."""

    def __init__(self, config: SynchformerConfig | None = None) -> None:
        super().__init__()
        config = config or SynchformerConfig()
        self.config = config
        self.vfeat_extractor = PictureTower(config)
        self.afeat_extractor = SoundTower(config)
        self.vproj = nn.Linear(config.dim, config.dim)
        self.aproj = nn.Linear(config.dim, config.dim)
        self.transformer = OffsetHead(config)

    def picture(self, segments: Tensor) -> Tensor:
        """[B, S, 3, 16, 224, 224] in -1..1 to [B, S, 8, D]."""
        return self.vfeat_extractor(segments)

    def sound(self, mel: Tensor) -> Tensor:
        """[B, S, 128, 66] to [B, S, 6, D]."""
        return self.afeat_extractor(mel)

    def offsets(self, picture: Tensor, sound: Tensor) -> Tensor:
        """Vectors of 14 segments each, [B, 14, 8, D] and [B, 14, 6, D], to logits [B, 21]."""
        return self.transformer(self.vproj(picture.flatten(1, 2)), self.aproj(sound.flatten(1, 2)))


def sound_segments(sound: Tensor) -> Tensor:
    """16 kHz sound [B, N] to [B, S, 10 240]; what does not fill a segment is dropped."""
    return sound.unfold(-1, SEGMENT, STEP)


def picture_segments(frames: Tensor) -> Tensor:
    """Frames at 25 fps [B, T, 3, H, W] in -1..1 to [B, S, 3, 16, H, W]."""
    return rearrange(frames.unfold(1, PICTURE_SEGMENT, PICTURE_STEP), "b s c h w t -> b s c t h w")
