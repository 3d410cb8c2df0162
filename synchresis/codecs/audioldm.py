"""AudioLDM's codec: log-mel at 100 Hz, a KL autoencoder over it, and a HiFi-GAN vocoder; 16 kHz mono.

VTA-LDM and STA-V2A share it (VTA-LDM spec sections 2, 3, 4 and 11). The networks are those of diffusers and
transformers, filled from the original files by the maps below.

| signal | shape | rate |
| --- | --- | --- |
| sound | [B, N] | 16 kHz |
| mel, natural log | [B, 1, T, 64] | 100 Hz |
| latents | [B, 8, T/4, 16], time by frequency | 25 Hz |

Published weights of the autoencoder and the vocoder are AudioLDM's, which its authors give for non-commercial use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.diffusion.windows import blending, windows
from synchresis.errors import BadInputError
from synchresis.nn.mel_bank import mel_bank

RATE = 16_000                 # Hz, mono
HOP = 160                     # samples of a mel frame: 100 frames a second
FFT = 1024                    # samples of a frame, and its transform
BANDS = 64                    # Slaney's scale and area, 0..8000 Hz
FLOOR = 1e-5                  # of a band before the logarithm
TRAINED_FRAMES = 1024         # mel frames of a training clip: 10.24 s
DECODE_OVERLAP = 64           # latents that neighbouring windows share when a long film is decoded
MEL_MARGIN = 32               # mel frames that the vocoder needs on each side for exact samples
VOCODED = 1024                # mel frames that it is given at once

# The mel of sound -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def mel_matrix() -> Tensor:
    """[64, 513] float32."""
    return torch.from_numpy(mel_bank(BANDS, FFT, RATE, 0.0, RATE / 2, "slaney", True).astype(np.float32))


def magnitudes(sound: Tensor) -> Tensor:
    """Magnitudes of frames centred on every 160th sample, the ends mirrored: [B, N] to [B, 513, N // 160 + 1].

    Sound is first cut to -1..1; what is no number then counts as silence (spec section 2).
    """
    sound = torch.nan_to_num(sound.clamp(-1.0, 1.0), nan=0.0)
    window = torch.hann_window(FFT, device=sound.device)
    return torch.stft(sound, FFT, HOP, FFT, window, center=True, pad_mode="reflect", return_complex=True).abs()


def log_mel(sound: Tensor) -> Tensor:
    """Natural log of the mel magnitudes: sound [B, N] at 16 kHz to [B, N // 160 + 1, 64]. N must exceed 512."""
    mel = torch.einsum("mf,bft->btm", mel_matrix().to(sound.device), magnitudes(sound))
    return mel.clamp_min(FLOOR).log()


def fitted(mel: Tensor, frames: int, padding: float = float(np.log(FLOOR))) -> Tensor:
    """The mel [B, T, 64] cut to `frames`, or followed by silence; the original follows it with 0.0, which is loud."""
    missing = max(frames - mel.shape[1], 0)
    return nn.functional.pad(mel[:, :frames], (0, 0, 0, missing), value=padding)


def levelled(sound: np.ndarray, length: int) -> np.ndarray:
    """How AudioLDM's reader levels a training sound [N]: no offset, then peak 0.5; cut or padded to `length` samples.

    A silent sound stays silent.
    """
    sound = sound - sound.mean()
    sound = sound / (np.abs(sound).max(initial=0.0) + 1e-8) * 0.5
    sound = np.concatenate([sound[:length], np.zeros(max(length - len(sound), 0), sound.dtype)])
    peak = np.abs(sound).max(initial=0.0)
    return sound / peak * 0.5 if peak > 0 else sound


# The networks ---------------------------------------------------------------------------------------


def codec_config(ddconfig: Mapping[str, Any], embed_dim: int, vocoder: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of `MelCodec` for those of the original: its `ddconfig` and that of its HiFi-GAN."""
    widths = [ddconfig["ch"] * factor for factor in ddconfig["ch_mult"]]
    if ddconfig["attn_resolutions"] or not ddconfig["double_z"] or ddconfig["z_channels"] != embed_dim:
        raise ValueError("only AudioLDM's autoencoder is known: double_z, no attn_resolutions, z_channels = embed_dim")
    return {
        "vae": {
            "in_channels": ddconfig["in_channels"],
            "out_channels": ddconfig["out_ch"],
            "block_out_channels": widths,
            "down_block_types": ["DownEncoderBlock2D"] * len(widths),
            "up_block_types": ["UpDecoderBlock2D"] * len(widths),
            "layers_per_block": ddconfig["num_res_blocks"],
            "latent_channels": embed_dim,
            "norm_num_groups": 32,
        },
        "vocoder": {
            "model_in_dim": vocoder["num_mels"],
            "sampling_rate": RATE,
            "upsample_initial_channel": vocoder["upsample_initial_channel"],
            "upsample_rates": list(vocoder["upsample_rates"]),
            "upsample_kernel_sizes": list(vocoder["upsample_kernel_sizes"]),
            "resblock_kernel_sizes": list(vocoder["resblock_kernel_sizes"]),
            "resblock_dilation_sizes": [list(sizes) for sizes in vocoder["resblock_dilation_sizes"]],
            "leaky_relu_slope": 0.1,
            "normalize_before": False,
        },
    }


DDCONFIG = {
    "double_z": True, "z_channels": 8, "resolution": 256, "in_channels": 1, "out_ch": 1, "ch": 128,
    "ch_mult": [1, 2, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
HIFIGAN = {
    "num_mels": BANDS, "upsample_initial_channel": 1024, "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4], "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}  # fmt: skip

FULL = codec_config(DDCONFIG, 8, HIFIGAN)
_FEW = {"ch": 32, "ch_mult": [1, 2, 1], "num_res_blocks": 1}
SMALL = codec_config(DDCONFIG | _FEW, 8, HIFIGAN | {"upsample_initial_channel": 32})


class MelCodec(nn.Module):
    """Mel to latents and back, and mel to sound. `config` is that of `codec_config`."""

    scale_factor: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import AutoencoderKL
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        self.vae = AutoencoderKL(**config["vae"])
        self.vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config["vocoder"]))
        # Latents are the autoencoder's times this: it lies beside the networks in the original file.
        self.register_buffer("scale_factor", torch.ones(()))
        self.channels: int = config["vae"]["latent_channels"]
        self.fold = 2 ** (len(config["vae"]["block_out_channels"]) - 1)  # mel frames, and bands, of a latent
        self.bins = BANDS // self.fold
        self.latent_rate = RATE // (HOP * self.fold)                     # Hz

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each [B, 8, T/4, 16], of the mel [B, 1, T, 64]; not scaled."""
        posterior = self.vae.encode(mel).latent_dist
        return posterior.mean, posterior.logvar

    def latents(self, mel: Tensor, noise: Tensor | None) -> Tensor:
        """Scaled latents to train on: a draw of the posterior with this unit noise, or its mean without."""
        mean, log_variance = self.encode(mel)
        return self.scale_factor * (mean if noise is None else mean + torch.exp(log_variance / 2) * noise)

    def mel(self, latents: Tensor) -> Tensor:
        """Mel [B, 1, 4 T, 64] of scaled latents [B, 8, T, 16], all at once."""
        return self.vae.decode(latents / self.scale_factor).sample

    def vocoded(self, mel: Tensor, tail: bool = False) -> Tensor:
        """Sound [B, 160 T] in -1..1 of the mel [B, 1, T, 64]; with `tail` the 32 samples that the original adds."""
        sound = self.vocoder(mel[:, 0])
        return sound if tail else sound[..., : HOP * mel.shape[2]]

    def sounds(self, latents: Tensor) -> Iterator[Tensor]:
        """The sound of scaled latents [1, 8, T, 16] of any length, in blocks [n], in all 640 T samples.

        Up to the trained length the autoencoder sees all latents at once, as the original's does. Longer ones it sees
        in windows of that length, whose mels are cross-faded; the vocoder's blocks join exactly.
        """
        mel = self._long_mel(latents)
        total = mel.shape[2]
        for first in range(0, total, VOCODED):
            stop = min(first + VOCODED, total)
            begin, end = max(first - MEL_MARGIN, 0), min(stop + MEL_MARGIN, total)
            yield self.vocoded(mel[:, :, begin:end])[0, HOP * (first - begin) : HOP * (stop - begin)]

    def _long_mel(self, latents: Tensor) -> Tensor:
        total = latents.shape[2]
        spans = windows(total, TRAINED_FRAMES // self.fold, DECODE_OVERLAP)
        if len(spans) == 1:
            return self.mel(latents)
        mel = latents.new_zeros(1, 1, total * self.fold, BANDS)
        cells = [(start * self.fold, stop * self.fold) for start, stop in spans]
        for (start, stop), (first, last), weight in zip(spans, cells, blending(cells, mel.shape[2]), strict=True):
            part = self.mel(latents[:, :, start:stop])
            mel[:, :, first:last] += part * torch.from_numpy(weight).to(part)[:, None]
        return mel


def to_int16(sound: Tensor) -> Tensor:
    """Whole sample values, cut towards zero; full scale stays full scale, where the original's wraps to -32768."""
    return (sound * 32768.0).clamp(-32768.0, 32767.0).to(torch.int16)


# The original files ---------------------------------------------------------------------------------

FIRST_STAGE = "first_stage_model."
ELSEWHERE = {rf"(?!{re.escape(FIRST_STAGE)}).*": "AudioLDM's own denoiser and text encoder"}

_VAE_NAMES = (
    (r"(encoder|decoder)\.mid\.block_(\d)\.", lambda m: f"{m[1]}.mid_block.resnets.{int(m[2]) - 1}."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)


def original_codec(first_stage: Mapping[str, Tensor], scale_factor: Tensor) -> dict[str, Tensor]:
    """The tensors of a `MelCodec` from those of the original first stage, whose vocoder is under `vocoder.`."""
    deepest = max((int(m[1]) for name in first_stage if (m := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    tensors = {"scale_factor": scale_factor.reshape(())}
    for name, value in first_stage.items():
        if name.startswith("vocoder."):
            tensors[_vocoder_name(name)] = value
            continue
        new = name
        for pattern, replacement in _VAE_NAMES:
            new = re.sub(pattern, replacement, new)
        # The original counts the decoder's blocks from the fine end, diffusers in the order of running.
        new = re.sub(r"\.up\.(\d+)\.block\.", lambda m: f".up_blocks.{deepest - int(m[1])}.resnets.", new)
        new = re.sub(r"\.up\.(\d+)\.upsample\.", lambda m: f".up_blocks.{deepest - int(m[1])}.upsamplers.0.", new)
        inside_attention = ".attentions.0.to_" in new and value.ndim == 4
        tensors[f"vae.{new}"] = value[..., 0, 0] if inside_attention else value
    bands = next((v.shape[1] for k, v in tensors.items() if k == "vocoder.conv_pre.weight"), BANDS)
    # Statistics that transformers' HiFi-GAN could normalise by and, like the original, does not.
    return tensors | {"vocoder.mean": torch.zeros(bands), "vocoder.scale": torch.ones(bands)}


def _vocoder_name(name: str) -> str:
    return re.sub(r"^vocoder\.ups\.", "vocoder.upsampler.", name)


def original_checkpoint(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Those of a whole `audioldm-s-full.ckpt`; what is not the codec's keeps its name (see `ELSEWHERE`).

    Raises BadInputError where the file has no first stage, or no scale_factor.
    """
    first_stage = {k.removeprefix(FIRST_STAGE): v for k, v in tensors.items() if k.startswith(FIRST_STAGE)}
    if not first_stage or "scale_factor" not in tensors:
        raise BadInputError(f"{source} is no AudioLDM checkpoint: it lacks {FIRST_STAGE}* or scale_factor")
    rest = {k: v for k, v in tensors.items() if not k.startswith(FIRST_STAGE) and k != "scale_factor"}
    return rest | original_codec(first_stage, tensors["scale_factor"].float())
