"""LAION-CLAP: one embedding of a sound, or of words, through transformers' ClapModel.

The network is built from its configuration and filled by whoever has the weights, the original `.pt` files
(`laion_keys`) or transformers' folders; nothing is fetched here. Two ears:

* "clap": 48 kHz, Slaney's mel with area norm. What the weights were trained with.
* "fusion": HTK's mel without area norm, as the original code listens when it is built for feature fusion.
  Stable-Foley listens so, and plays it sound of 44.1 kHz as if it were of 48 kHz.

Both repeat a sound that is shorter than 10 s in whole copies and fill the rest with zeros. Of a longer one the original
takes ten seconds at random; here they are the loudest ten (`loudest`). Sources: "Encoders" section 4, Stable-Foley
spec section 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank

RATE = 48_000         # Hz, mono
SAMPLES = 480_000     # of one look: 10 s
FFT, HOP, BANDS = 1024, 480, 64
LOW, HIGH = 50.0, 14_000.0
STEP = 480            # samples: the grid on which the loudest ten seconds are looked for

Ear = Literal["clap", "fusion"]

# The published towers: `630k-audioset-best.pt`, `630k-best.pt` (tiny); `music_*_audioset_*.pt` (base).
HTSAT_TINY: dict[str, Any] = {
    "patch_embeds_hidden_size": 96,
    "depths": [2, 2, 6, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "projection_dim": 512,
}
HTSAT_BASE: dict[str, Any] = HTSAT_TINY | {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2]}
SMALL: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "projection_dim": 32,
}
FIELDS = frozenset(HTSAT_TINY)

# Tensors of LAION's files that no embedding needs, by the reason.
IGNORED = {
    r".*(spectrogram|logmel)_extractor\..*": "the file's own mel filters: ours are computed",
    r".*\.attn_mask": "masks of shifted windows, which are computed",
    r".*position_ids": "a list of numbers 0, 1, 2 … that is not learned",
    r"audio_branch\.(tscam_conv|head)\..*": "the sound classifier of CLAP's first training",
    r"(audio|text)_transform\..*": "heads that no embedding goes through",
    r"audio_branch\.patch_embed\.(mel_conv2d|fusion_model)\..*": "fusion layers, for sounds of over 10 s only",
}
TEXT = {r"(text_branch|text_projection|text_model)\..*|logit_scale_t": "CLAP's text half: only sounds are heard"}
SCALES = {r"logit_scale_[at]": "CLAP's scales of similarities: only embeddings are used"}


# Networks


def audio_config(sizes: Mapping[str, Any]) -> Any:
    """transformers' ClapAudioConfig of a tower (see `HTSAT_TINY`). Raises ValueError for unknown fields."""
    from transformers import ClapAudioConfig

    if strangers := sorted(sizes.keys() - FIELDS):
        raise ValueError(f"unknown fields of a CLAP audio tower: {', '.join(strangers)}")
    return ClapAudioConfig(
        **sizes, hidden_size=8 * sizes["patch_embeds_hidden_size"], enable_fusion=False, num_mel_bins=BANDS
    )


def build_audio(sizes: Mapping[str, Any]) -> nn.Module:
    """The audio half alone, a ClapAudioModelWithProjection: names `audio_model.*` and `audio_projection.*`."""
    from transformers import ClapAudioModelWithProjection

    return ClapAudioModelWithProjection(audio_config(sizes)).eval()


def build(sizes: Mapping[str, Any], text: Mapping[str, Any] | None = None) -> nn.Module:
    """Both halves, a ClapModel. `text` are fields of transformers' ClapTextConfig; without them it is RoBERTa base.

    Both halves end in embeddings of sizes["projection_dim"] values.
    """
    from transformers import ClapConfig, ClapModel, ClapTextConfig

    width = sizes["projection_dim"]
    # RoBERTa's own epsilon; the class's default of 1e-12 moves the embeddings of words by 5e-5.
    words = ClapTextConfig(**{"layer_norm_eps": 1e-5, **(text or {}), "projection_dim": width})
    config = ClapConfig(
        text_config=words.to_dict(), audio_config=audio_config(sizes).to_dict(), projection_dim=width
    )
    return ClapModel(config).eval()


def sizes_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The audio tower's sizes from a transformers config.json of a CLAP. Raises ValueError for another model."""
    if config.get("model_type") != "clap":
        raise ValueError(f"a model of type {config.get('model_type')} is no CLAP")
    from transformers import ClapConfig

    full = ClapConfig(**{k: v for k, v in config.items() if k in ("audio_config", "text_config", "projection_dim")})
    audio = full.audio_config.to_dict() | {"projection_dim": full.projection_dim}
    return {name: audio[name] for name in HTSAT_TINY}


def tower_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The sizes of the audio tower in a LAION file (after `unprefixed`), read off the tensors themselves.

    Raises ValueError where they are no LAION-CLAP.
    """
    depths: dict[int, int] = {}
    heads: dict[int, int] = {}
    for name, value in tensors.items():
        if m := re.fullmatch(r"audio_branch\.layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table", name):
            stage = int(m[1])
            depths[stage] = max(depths.get(stage, 0), int(m[2]) + 1)
            heads[stage] = value.shape[1]
    try:
        return {
            "patch_embeds_hidden_size": tensors["audio_branch.patch_embed.proj.weight"].shape[0],
            "depths": [depths[i] for i in range(4)],
            "num_attention_heads": [heads[i] for i in range(4)],
            "projection_dim": tensors["audio_projection.2.weight"].shape[0],
        }
    except KeyError as error:
        raise ValueError(f"no audio tower of LAION-CLAP: it has no {error}") from error


# Names

_AUDIO = (
    (r"^audio_branch\.bn0\.", "audio_model.audio_encoder.batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"(\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative_position_", ".attention.self.relative_position_"),
    (r"^text_branch\.", "text_model."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
)


def unprefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A LAION file's tensors without the `module.` that its training put in front of the names."""
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def laion_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a LAION file under transformers' names. Those of `IGNORED` keep their own.

    The fused queries, keys and values are cut in three; the sizes of a tensor do not change otherwise.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in unprefixed(tensors).items():
        if any(re.fullmatch(pattern, name) for pattern in IGNORED):
            renamed[name] = value
            continue
        new = name
        for pattern, by in _AUDIO:
            new = re.sub(pattern, by, new)
        if ".attn.qkv." in new:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[new.replace(".attn.qkv.", f".attention.self.{part}.")] = third
        else:
            renamed[new] = value
    return renamed


# Ears


@lru_cache(maxsize=2)
def _bank(ear: Ear) -> Tensor:
    scale: Literal["slaney", "htk"] = "slaney" if ear == "clap" else "htk"
    bank = mel_bank(BANDS, FFT, RATE, LOW, HIGH, scale, area_norm=ear == "clap")
    return torch.from_numpy(bank.astype(np.float32))


def loudest(sound: Tensor) -> Tensor:
    """Sounds [B, N] of more than ten seconds cut to the ten with the most power [B, 480000]: each its own.

    Looked for every 10 ms; of equally loud stretches the first. Shorter sounds are left as they are.
    """
    if sound.shape[-1] <= SAMPLES:
        return sound
    total = F.pad(sound.double().square().cumsum(-1), (1, 0))
    firsts = torch.arange(0, sound.shape[-1] - SAMPLES + 1, STEP)
    power = total[:, firsts + SAMPLES] - total[:, firsts]
    return torch.stack([row[f : f + SAMPLES] for row, f in zip(sound, firsts[power.argmax(-1)].tolist(), strict=True)])


def filled_up(sound: Tensor) -> Tensor:
    """Sounds [B, N] of 1..480000 samples, in as many whole copies as fit, then zeros: [B, 480000]."""
    if not 0 < sound.shape[-1] <= SAMPLES:
        raise ValueError(f"CLAP listens to 1..{SAMPLES} samples, not {sound.shape[-1]}")
    copies = sound.repeat(1, SAMPLES // sound.shape[-1])
    return F.pad(copies, (0, SAMPLES - copies.shape[-1]))


def log_mel(sound: Tensor, ear: Ear = "clap") -> Tensor:
    """Sounds [B, N], taken as 48 kHz, to their mel power in dB [B, 1001, 64], no lower than -100 dB.

    What is longer than ten seconds is first cut to its loudest ten, what is shorter filled up.
    """
    full = filled_up(loudest(sound)).float()
    window = torch.hann_window(FFT, device=full.device)
    spectrum = torch.stft(full, FFT, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.abs().square()
    mel = torch.einsum("mf,bft->btm", _bank(ear).to(full.device), power)
    return 10.0 * torch.log10(mel.clamp_min(1e-10))


# Embeddings


def embed_mel(clap: nn.Module, mel: Tensor) -> Tensor:
    """`log_mel` [B, 1001, 64] to embeddings of unit length [B, D]; `clap` is that of `build` or `build_audio`."""
    features = mel[:, None].to(next(clap.parameters()).device)
    heard = clap.audio_model(input_features=features).pooler_output  # type: ignore[operator]
    return F.normalize(clap.audio_projection(heard), dim=-1)  # type: ignore[operator]


@torch.no_grad()
def embed_sound(clap: nn.Module, sound: Tensor, ear: Ear = "clap") -> Tensor:
    """Sounds [B, N], taken as 48 kHz mono, to embeddings of unit length [B, D]."""
    return embed_mel(clap, log_mel(sound, ear))


@torch.no_grad()
def embed_words(clap: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Tokens of RoBERTa and their mask, each [B, S], to embeddings of unit length [B, D]. Needs `build`'s network."""
    device = next(clap.parameters()).device
    given = {"input_ids": input_ids.to(device), "attention_mask": attention_mask.to(device)}
    return clap.get_text_features(**given).pooler_output  # type: ignore[operator]
