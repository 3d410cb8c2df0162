"""What Stable-Foley is told in sound: envelopes as waveforms and as latents, and the sound to be like.

Sources: Stable-Foley spec sections 3, 4, 8 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.windows import blending, windows
from synchresis.encoders import clap as ear
from synchresis.errors import BadInputError
from synchresis.media import read_sound
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.nn.rms_mapper import RMSMapper
from synchresis.timeline import Track, sample_count
from synchresis.timeline import rms_codes as rms
from synchresis.timeline.onsets import Onsets
from synchresis.timeline.track import resample_sound

CHUNK = 64                # latents encoded at once
STRIKE_SECONDS = 0.12     # in which a drawn strike dies away by a factor e
LOOK, LOOK_OVERLAP = 300, 100  # frames that Video2RMS looks at together: 10 s at 30 Hz, 3.3 s
FLAT = 1e-4               # of the peak: so near to it, a sample may have been cut off
CLIPPED = 0.001           # of a reference's samples that were cut off: from here on it counts as clipped


def wave_of_curve(
    curve: Track, samples: int, rate: int, final: bool, level: float, filters: Mapping[str, int]
) -> np.ndarray:
    """A loudness track as the waveform [samples] that the control branch is told; silent where the track says nothing.

    A momentary loudness gets the two filters of training, of which the first holds a hit for 227 ms, and with `level`
    above 0 its loudest value becomes that. A `final` envelope is taken as it is. float32.
    """
    times = (np.arange(samples) + 0.5) / rate
    inside = (times >= float(curve.span.start)) & (times < float(curve.span.end))
    wave = np.where(inside, curve.at(times), 0.0)
    if final:
        return wave.astype(np.float32)
    wave = rms.envelope_of(wave, filters["rms_window"], filters["box_window"])
    loudest = float(wave.max(initial=0.0))
    return (wave * (level / loudest if level > 0 and loudest > 0 else 1.0)).astype(np.float32)


def struck(onsets: Onsets, duration: Fraction) -> Track:
    """A momentary loudness (100 Hz) that jumps at each onset and dies away: louder the stronger, 10 dB at most."""
    times = (np.arange(sample_count(duration, 100)) + 0.5) / 100
    loudness = np.zeros(len(times), np.float32)
    for time, strength in zip(onsets.times, onsets.strengths, strict=True):
        first = max(0, int(np.floor(time * 100 + 1e-6)))
        peak = 10 ** (-10 * (1 - strength) / 20)
        tail = peak * np.exp(-(times[first:] - times[first : first + 1]) / STRIKE_SECONDS)
        loudness[first:] = np.maximum(loudness[first:], tail)
    return Track(loudness, Fraction(100))


@torch.no_grad()
def predicted_classes(net: RMSMapper, features: Tensor) -> Tensor:
    """The most probable class at each label [T'] int64, for features [T, features] of any length above 0.

    A film of over 300 frames is looked at in overlapping windows, whose probabilities are cross-faded. The network
    must be in `eval`. Raises ValueError for no features, and where windows do not fall on whole labels.
    """
    ratio = net.config.labels_per_frame
    spans = windows(len(features), LOOK, LOOK_OVERLAP)
    edges = [(round(a * ratio), round(b * ratio)) for a, b in spans]
    if any(len(spans) > 1 and b - a != round(LOOK * ratio) for a, b in edges):
        raise ValueError(f"{ratio} labels per frame: windows do not begin on a label")
    total = torch.zeros(edges[-1][1], net.config.classes)
    device = next(net.parameters()).device
    for (start, stop), (first, last), curve in zip(spans, edges, blending(edges, edges[-1][1]), strict=True):
        probability = net(features[None, start:stop].to(device))[0].softmax(-1).cpu()
        total[first:last] += probability * torch.from_numpy(curve)[:, None]
    return total.argmax(-1)


@torch.no_grad()
def encode_envelope(codec: Oobleck, wave: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Mean and spread of the latents [1, C, N // ratio] of an envelope [N], the same in all channels.

    The envelope is simply the sound that the encoder hears. In exact pieces: each with all that the encoder sees from
    it, so that memory does not grow with the film.
    """
    ratio, reach, device = codec.config.ratio, encoder_reach(codec.config), next(codec.parameters()).device
    total = len(wave) // ratio
    means, spreads = [], []
    for start in range(0, total, chunk):
        stop, first = min(start + chunk, total), max(0, start - reach)
        last = (stop + reach) * ratio if stop + reach < total else len(wave)
        piece = wave[first * ratio : last].expand(1, codec.config.audio_channels, -1)
        mean, spread = codec.encode(piece.to(device))
        means.append(mean[..., start - first : stop - first])
        spreads.append(spread[..., start - first : stop - first])
    return torch.cat(means, dim=-1), torch.cat(spreads, dim=-1)


def encoder_reach(config: OobleckConfig) -> int:
    """Latents on either side whose samples a latent depends on (9 at the published size)."""
    reach, step = 3.0, 1  # samples; the first convolution is seven wide
    for stride in config.strides:
        reach += 3 * (1 + 3 + 9) * step + 1.5 * stride * step
        step *= stride
    return math.ceil((reach + step) / step)


def reference_sound(path: Path, rate: int) -> tuple[Tensor, list[str]]:
    """A sound to be like, mono, peak 1, as many samples as CLAP hears at most: [1, N] at `rate`, and notes.

    Of a longer one the loudest stretch. Raises BadInputError for silence, values that are no numbers, and clipping.
    """
    sound = read_sound(path)
    values = sound.values
    if not np.isfinite(values).all():
        raise BadInputError(f"{path} holds values that are not numbers: export the reference sound again")
    if len(values) < float(sound.rate) / 10 or np.abs(values).max() < 1e-4:
        raise BadInputError(f"{path} is silent or shorter than 0.1 s: give a reference sound that can be heard")
    flat = max(flat_share(values[:, channel]) for channel in range(values.shape[1]))
    if flat > CLIPPED:
        raise BadInputError(f"{path} is clipped ({flat:.1%} of its samples): record it at a lower level")
    mono = values.mean(axis=1)
    if np.abs(mono).max() < 1e-4:
        raise BadInputError(f"{path}: its channels cancel each other out: give it with one channel")
    heard = torch.from_numpy(resample_sound(Track(mono, sound.rate), rate).values.astype(np.float32))[None]
    notes = []
    if heard.shape[-1] > ear.SAMPLES:
        notes.append(f"{path.name} is longer than CLAP hears: the loudest {ear.SAMPLES / rate:.1f} s of it count")
    heard = ear.loudest(heard)
    return heard / heard.abs().max().clamp_min(1e-6), notes


def flat_share(samples: np.ndarray) -> float:
    """How much of a sound [N] was cut off at its peak: four or more samples in a row at the peak, with a corner.

    A corner, since a deep tone is flat at its peak too, but leaves it slowly. Only for a peak of 0.5 and more: in 16
    bits a soft sound is all corners.
    """
    size = np.abs(samples)
    peak = float(size.max())
    if peak < 0.5:
        return 0.0
    below = np.concatenate([[0.0], 1 - size / peak, [0.0]])  # of the peak; nothing is known of what is outside
    top = (below <= FLAT).astype(np.int8)
    top[0] = top[-1] = 0
    starts, ends = np.flatnonzero(np.diff(top) == 1) + 1, np.flatnonzero(np.diff(top) == -1) + 1
    corner = np.maximum(below[starts - 1], below[ends]) > 8 * FLAT  # a parabola's next sample is within 4
    lengths = (ends - starts)[corner]
    return float(lengths[lengths >= 4].sum() / len(samples))
