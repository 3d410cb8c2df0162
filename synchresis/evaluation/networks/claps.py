"""Sounds and words in one space: LAION's CLAP and Microsoft's, with PAM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.encoders import clap, ms_clap
from synchresis.errors import BadInputError
from synchresis.evaluation.networks import NetworkInfo
from synchresis.evaluation.networks.common import (
    Network,
    Rows,
    as_sounds,
    asking,
    differing,
    file_of,
    filled,
    needed_tokenizer,
    tokenizer_of,
)
from synchresis.evaluation.scores import pam_chunks, pam_scores
from synchresis.nn.mel_bank import mel_bank
from synchresis.systems.weights import read_tensors, skeleton

PAM_TEXTS = ("the sound is clear and clean.", "the sound is noisy and with artifacts.")
TEXT_LENGTH = 77


def _with_built(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors and those tables of indices that the module computes and a file may leave out."""
    tables = ("relative_position_index", "position_ids", "token_type_ids")
    built = {name: value for name, value in module.state_dict().items() if name.endswith(tables)}
    return {**built, **tensors}


class LaionClap(Network):
    """Features [1, 512] of unit length; texts likewise [n, 512]. The tower's size is read off the file."""

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: dict[str, Any] | None,
    ) -> LaionClap:
        path = file_of(info, place)
        tensors = clap.unprefixed(read_tensors(path))
        try:
            tower = clap.tower_of(tensors)
        except ValueError as error:
            raise BadInputError(f"{path} does not fit {info.id}: {error}") from error
        if any(".fusion_model." in name for name in tensors):
            raise BadInputError(f"{path} was trained with fusion, {info.id} ({info.weights.file}) without")
        with skeleton():
            module = clap.build(tower, sizes)
        report = filled(info, module, _with_built(module, clap.laion_keys(tensors)), path, clap.IGNORED)
        network = cls(info, module, device, [report])
        bank = mel_bank(clap.BANDS, clap.FFT, clap.RATE, clap.LOW, clap.HIGH, "slaney", area_norm=True).T
        computed = {"audio_branch.logmel_extractor.melW": torch.from_numpy(bank.astype(np.float32))}
        network.warnings = [f"{path.name}: {said}; ours is used" for said in differing(computed, tensors)]
        network.module, network.tokenizer = module, tokenizer_of(info, parts)
        return network

    module: nn.Module
    tokenizer: Any

    def embed(self, sounds: Iterable[np.ndarray]) -> list[Rows]:
        full = [clap.filled_up(clap.loudest(sound[None]))[0] for sound in as_sounds(sounds)]
        return self.batched(full, lambda x: {"features": clap.embed_sound(self.module, x.to(self.device))[:, None]})

    def read(self, texts: Sequence[str]) -> np.ndarray:
        tokens = needed_tokenizer(self.info, self.tokenizer)(
            list(texts), padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt"
        )
        with asking():
            return clap.embed_words(self.module, tokens["input_ids"], tokens["attention_mask"]).float().cpu().numpy()


class MicrosoftClap(Network):
    """Features [K, 1024] of looks of 7 s, not normalised; texts likewise [n, 1024]."""

    module: ms_clap.MsClap
    tokenizer: Any

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: dict[str, Any] | None,
    ) -> MicrosoftClap:
        path = file_of(info, place)
        with skeleton():
            module = ms_clap.MsClap(**(sizes or {}))
        tensors = read_tensors(path)
        report = filled(info, module, _with_built(module, ms_clap.ms_keys(tensors)), path, ms_clap.IGNORED)
        network = cls(info, module, device, [report])
        bank = torch.from_numpy(ms_clap.bank().T.astype(np.float32))
        computed = {"audio_encoder.base.htsat.logmel_extractor.melW": bank}
        network.warnings = [f"{path.name}: {said}; ours is used" for said in differing(computed, tensors)]
        network.module, network.tokenizer = module, tokenizer_of(info, parts)
        return network

    def embed(self, sounds: Iterable[np.ndarray]) -> list[Rows]:
        looks: list[Tensor] = []
        owners: list[int] = []
        given = as_sounds(sounds)
        for i, sound in enumerate(given):
            for first, count in pam_chunks(len(sound)):
                piece = sound[first : first + count]
                looks.append(piece.repeat(-(-ms_clap.SAMPLES // count))[: ms_clap.SAMPLES])
                owners.append(i)
        rows = self.batched(looks, lambda x: {"features": self.module.sound(ms_clap.log_mel(x.to(self.device)))})
        return [
            {"features": np.stack([r["features"] for r, owner in zip(rows, owners, strict=True) if owner == i])}
            for i in range(len(given))
        ]

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """GPT-2's tokens of `text <|endoftext|>`, cut to 77 and filled up with 0."""
        tokenizer = needed_tokenizer(self.info, self.tokenizer)
        ids = torch.zeros(len(texts), ms_clap.WORDS, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, text in enumerate(texts):
            found = tokenizer(text + " <|endoftext|>")["input_ids"][: ms_clap.WORDS]
            ids[i, : len(found)] = torch.tensor(found)
            mask[i, : len(found)] = 1
        with asking():
            return self.module.words(ids.to(self.device), mask.to(self.device)).float().cpu().numpy()

    def pam(self, sounds: Iterable[np.ndarray]) -> list[np.ndarray]:
        """PAM of each look of each sound: [K] in 0..1, how much likelier the clean prompt is than the noisy one."""
        prompts = self.read(PAM_TEXTS)
        scale = float(self.module.logit_scale)
        return [pam_scores(rows["features"], prompts, scale) for rows in self.embed(sounds)]
