"""Microsoft CLAP 2023: embeddings of sounds and of words, and PAM's question to them ("Encoders", section 3).

The towers are transformers' (HTSAT as in LAION-CLAP, GPT-2 small), the front end and the projections are ours. The
original's front end ignores its own configuration: it lays a mel bank made for 32 kHz over sound of 44.1 kHz, so that
its upper limit is really 19.3 kHz. So does this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.encoders import clap
from synchresis.nn.mel_bank import mel_bank

RATE = 44_100           # Hz, mono
SAMPLES = 7 * RATE      # of one look: 965 frames
FFT, HOP, BANDS = 1024, 320, 64
BANK_RATE = 32_000      # Hz: what the mel bank believes to be fed
WORDS = 77              # tokens of a text

AUDIO: dict[str, Any] = {name: value for name, value in clap.HTSAT_TINY.items() if name != "projection_dim"}
SMALL_AUDIO: dict[str, Any] = {name: value for name, value in clap.SMALL.items() if name != "projection_dim"}
SMALL_TEXT: dict[str, Any] = {"vocab_size": 50257, "n_positions": WORDS, "n_embd": 16, "n_layer": 1, "n_head": 2}

IGNORED = {
    r".*\.(spectrogram|logmel)_extractor\..*": "the file's own mel filters: ours are computed",
    r".*\.attn_mask": "masks of shifted windows, which are computed",
    r".*\.htsat\.(tscam_conv|head)\..*": "the sound classifier of the tower's first training",
    r"caption_encoder\.base\.h\.\d+\.attn\.(bias|masked_bias)": "masks of older GPT-2 code, which are computed",
}


class Projection(nn.Module):
    """[B, inner] to [B, outer] with a way round the second layer; not normalised."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inner, outer, bias=False)
        self.linear2 = nn.Linear(outer, outer, bias=False)
        self.layer_norm = nn.LayerNorm(outer)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(F.gelu(first)))


class MsClap(nn.Module):
    """`sound` and `words` give embeddings [B, 1024] that are not normalised, `similarity` compares them.

    `audio` are sizes of the HTSAT tower (as in `clap.HTSAT_TINY`), `text` fields of transformers' GPT2Config; the
    published ones by default.
    """

    def __init__(
        self, audio: Mapping[str, Any] | None = None, text: Mapping[str, Any] | None = None, out: int = 1024
    ) -> None:
        super().__init__()
        from transformers import ClapAudioModel, GPT2Config, GPT2Model

        tower = ClapAudioModel(clap.audio_config({**(audio or AUDIO)}))
        writer = GPT2Model(GPT2Config(**(text or {})))
        self.audio_encoder = nn.ModuleDict(
            {"base": tower, "projection": Projection(tower.config.hidden_size, out)}
        )
        self.caption_encoder = nn.ModuleDict({"base": writer, "projection": Projection(writer.config.n_embd, out)})
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
        self.eval()

    def sound(self, mel: Tensor) -> Tensor:
        """`log_mel` [B, 965, 64] to embeddings [B, out]."""
        latent = self.audio_encoder["base"](input_features=mel[:, None]).pooler_output
        return self.audio_encoder["projection"](latent)

    def words(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, 77], padded with 0, to embeddings [B, out]: read at the number of ids that are not 0, less one.

        So a text with the token 0 ("!") is read too early, as in the original.
        """
        hidden = self.caption_encoder["base"](input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        last = (input_ids != 0).sum(-1) - 1
        return self.caption_encoder["projection"](hidden[torch.arange(len(hidden), device=hidden.device), last])

    def similarity(self, sounds: Tensor, words: Tensor) -> Tensor:
        """[A, out] and [B, out] to scaled cosines [A, B]."""
        return self.logit_scale.exp() * F.normalize(sounds, dim=-1) @ F.normalize(words, dim=-1).T


def ms_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the published file (under `model`) by the names of `MsClap`. Those of `IGNORED` keep their own."""
    tower, others = "audio_encoder.base.htsat.", {}
    branch: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith(tower):
            branch["audio_branch." + name.removeprefix(tower)] = value
        else:
            others[name] = value
    for name, value in clap.laion_keys(branch).items():
        inside = name.removeprefix("audio_model.")
        if inside == name:  # not renamed: one of those that no embedding needs
            others[tower + name.removeprefix("audio_branch.")] = value
        else:
            others["audio_encoder.base." + inside] = value
    return others


@lru_cache(maxsize=1)
def bank() -> np.ndarray:
    """The mel bank [64, 513], made for 32 kHz."""
    return mel_bank(BANDS, FFT, BANK_RATE, 50, 14_000, "slaney", area_norm=True)


def log_mel(sound: Tensor) -> Tensor:
    """Sounds [B, 308700] of exactly 7 s at 44.1 kHz to mel power in dB [B, 965, 64]."""
    if sound.shape[-1] != SAMPLES:
        raise ValueError(f"Microsoft's CLAP looks at {SAMPLES} samples, not {sound.shape[-1]}")
    window = torch.hann_window(FFT, device=sound.device)
    spectrum = torch.stft(sound, FFT, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    mel = (torch.from_numpy(bank()).to(power) @ power).transpose(1, 2)
    return 10.0 * torch.log10(mel.clamp_min(1e-10))
