"""Synchformer: what DeSync is computed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synchresis.evaluation.networks import NetworkInfo
from synchresis.evaluation.networks.common import (
    Network,
    Rows,
    as_sounds,
    asking,
    file_of,
    filled,
    in_batches,
    middle,
    shrunk,
)
from synchresis.evaluation.scores import desync_windows
from synchresis.nn import synchformer
from synchresis.systems.weights import read_tensors, skeleton


class Synchrony(Network):
    """Features of segments of 0.64 s every 0.32 s: sound [S, 6, 768], picture [S, 8, 768]."""

    module: synchformer.Synchformer

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: synchformer.SynchformerConfig | None,
    ) -> Synchrony:
        path = file_of(info, place)
        with skeleton():
            module = synchformer.Synchformer(sizes)
        report = filled(info, module, read_tensors(path), path, {})
        network = cls(info, module, device, [report])
        network.module = module
        return network

    def embed(self, sounds: Iterable[np.ndarray]) -> list[Rows]:
        """What does not fill a segment is dropped."""
        config = self.module.config
        out = []
        for sound in as_sounds(sounds):
            if len(sound) < synchformer.SEGMENT:
                out.append({"features": np.zeros((0, config.times, config.dim), np.float32)})
                continue
            segments = synchformer.sound_segments(sound).unbind(0)
            rows = in_batches(
                segments,
                lambda x: {"features": self.module.sound(synchformer.mel_segments(x.to(self.device))[:, None])[:, 0]},
                limit=32 * synchformer.SEGMENT,
            )
            out.append({"features": np.stack([row["features"] for row in rows])})
        return out

    def look(self, frames: Iterable[np.ndarray]) -> Rows:
        """Pictures at 25 a second. A segment is looked at as soon as it is there: 16 pictures are held."""
        config = self.module.config
        held: list[Tensor] = []
        rows: list[np.ndarray] = []
        for frame in frames:
            held.append((middle(shrunk(frame, config.picture), config.picture).float() / 255.0 - 0.5) / 0.5)
            if len(held) == synchformer.PICTURE_SEGMENT:
                segment = torch.stack(held, 1)[None, None].to(self.device)
                with asking():
                    rows.append(self.module.picture(segment)[0, 0].float().cpu().numpy())
                held = held[synchformer.PICTURE_STEP :]
        shape = (0, synchformer.PICTURE_SEGMENT // config.tubelet, config.dim)
        return {"features": np.stack(rows) if rows else np.zeros(shape, np.float32)}

    def judge(self, picture: np.ndarray, sound: np.ndarray, sliding: bool = False) -> np.ndarray:
        """Features of both, cut to the shorter, to logits over `synchformer.OFFSETS` per window of 4.8 s: [W, 21].

        The first and the last window, as av-benchmark does, or with `sliding` one every 2.24 s. Raises ValueError for
        less than 4.8 s.
        """
        count = min(len(picture), len(sound))
        starts = desync_windows(count, sliding)
        stacks = [
            torch.stack([torch.from_numpy(values[start : start + synchformer.SEGMENTS]) for start in starts])
            for values in (picture, sound)
        ]
        with asking():
            return self.module.offsets(*(stack.to(self.device) for stack in stacks)).float().cpu().numpy()
