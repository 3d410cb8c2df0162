"""Training on films of any length, as LoVA did, with the defects of its data path mended (LoVA spec 6, 7 and 10).

A pair is a sound and the features of its picture, two tracks on one timeline. `splice` makes a longer pair out of a
short one; `collate` pads pairs to a batch and says what is real; `long_form_loss` is the objective. What differs from
the published code:

- features carry their rate, so that 22 Hz features brought to 8 Hz are cut as 8 Hz features;
- sound and features are cut at instants where both have a cell's edge, never in rounded seconds;
- pairs of any length are spliced, also those as long as the target and those under 5 s;
- the loss counts the latents that hold sound, at their true rate, and nothing else;
- padding is masked in both attentions, so that an item's loss does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.guidance import drop
from synchresis.diffusion.objectives import Objective, V, masked_mse, training_times
from synchresis.errors import BadInputError
from synchresis.nn.conditioners import padded
from synchresis.nn.oobleck import Oobleck
from synchresis.timeline.time import Number, Span, as_fraction
from synchresis.timeline.track import Track, concat
from synchresis.training.course import Course, begun, lessons_of, on, opened, output_for
from synchresis.training.films import Film, Lesson, lessons_folder, stretches
from synchresis.training.loop import train

if TYPE_CHECKING:
    from synchresis.systems.lova import Lova

SHORTEST = Fraction(5)  # seconds of a piece that is spliced in, unless the film itself is shorter
UNCHANGED = 0.5  # share of pairs that are left as long as they are
COARSEST = Fraction(1)  # seconds between the instants at which a pair can be cut


@dataclass(frozen=True, eq=False)
class Pair:
    """sound [N, C] and features [S, D], both from 0 s and equally long; `pieces` are the spans of the source that they
    are made of, in order.
    """

    sound: Track
    features: Track
    pieces: tuple[Span, ...]


# Time ------------------------------------------------------------------------------------


def at_rate(features: Track, rate: Number) -> Track:
    """Features taken at i / their rate as if they had been taken at i / `rate`, which must not be higher.

    Feature j is the one whose cell holds the instant j / rate, the picture shown then.
    """
    rate = as_fraction(rate)
    if not 0 < rate <= features.rate:
        raise ValueError(f"features at {float(features.rate):g} Hz cannot be had at {float(rate):g} Hz")
    count = math.ceil(len(features) * rate / features.rate)
    rows = [math.floor(j * features.rate / rate) for j in range(count)]
    return Track(features.values[rows], rate, features.start)


def cutting_step(a: Fraction, b: Fraction) -> Fraction:
    """The shortest time that is a whole number of cells at both rates: 1/4 s for 44100 and 8 Hz.

    Raises ValueError where that is over a second, since little could be cut there.
    """
    one, other = 1 / a, 1 / b
    step = Fraction(
        math.lcm(one.numerator * other.denominator, other.numerator * one.denominator),
        one.denominator * other.denominator,
    )
    if step > COARSEST:
        raise ValueError(
            f"tracks at {float(a):g} Hz and {float(b):g} Hz meet only every {float(step):g} s: bring the features to "
            "a rate such as 8 or 22 Hz"
        )
    return step


def cut(track: Track, span: Span) -> Track:
    """The cells of `span`, whose edges must be edges of cells, as a track from 0 s."""
    first, stop = ((edge - track.start) * track.rate for edge in (span.start, span.end))
    if first.denominator != 1 or stop.denominator != 1 or not 0 <= first <= stop <= len(track):
        raise ValueError(f"{span} is not made of whole cells of a track of {len(track)} at {float(track.rate):g} Hz")
    return Track(track.values[int(first) : int(stop)], track.rate)


# Splicing --------------------------------------------------------------------------------


def drawn_length(duration: Number, longest: Number, rng: np.random.Generator) -> Fraction:
    """How long to make a pair of `duration` s: as it is half of the time, else whole seconds up to `longest`."""
    duration, longest = as_fraction(duration), as_fraction(longest)
    if duration >= longest or rng.random() < UNCHANGED:
        return min(duration, longest)
    return Fraction(int(rng.integers(math.ceil(duration), math.floor(longest) + 1)))


def splice(sound: Track, features: Track, target: Number, rng: np.random.Generator) -> Pair:
    """A pair `target` seconds long, made of the whole clip and random pieces of it, the last one shortened to fit.

    A clip longer than that gives one random piece. Every piece is cut from sound and features over exactly the same
    span; what one of them is longer than the other is not used. `target` and all cuts are rounded down to
    `cutting_step`. Raises ValueError for tracks that do not start together, or that hold no step in common.
    """
    if sound.start != features.start:
        raise ValueError(f"sound from {float(sound.start)} s and features from {float(features.start)} s")
    step = cutting_step(sound.rate, features.rate)
    have = int(min(sound.duration, features.duration) // step)
    want = int(as_fraction(target) // step)
    if have < 1 or want < 1:
        raise ValueError(f"{float(min(sound.duration, features.duration)):g} s of a pair cannot be cut in {step} s")
    shortest = min(have, math.ceil(SHORTEST / step))
    pieces: list[Span] = []
    left = want
    while left:
        length = min(have if not pieces else int(rng.integers(shortest, have + 1)), left)
        first = int(rng.integers(0, have - length + 1))
        start = sound.start + first * step
        pieces.append(Span(start, start + length * step))
        left -= length
    return Pair(_joined(sound, pieces), _joined(features, pieces), tuple(pieces))


def _joined(track: Track, pieces: Sequence[Span]) -> Track:
    place, parts = Fraction(0), []
    for piece in pieces:
        part = cut(track, piece)
        parts.append(Track(part.values, part.rate, place))
        place += piece.duration
    return concat(parts)


# Batches ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """sound [B, C, N] and features [B, S, D], zeros behind the end of each item; the masks [B, T] and [B, S] are true
    at latents that hold sound and at features that are real.
    """

    sound: Tensor
    features: Tensor
    latent_mask: Tensor
    context_mask: Tensor


def latent_count(samples: int, ratio: int) -> int:
    """Latents that hold some of `samples` samples."""
    return -(-samples // ratio)


def collate(pairs: Sequence[Pair], ratio: int, samples: int | None = None) -> Batch:
    """Pairs as one batch, all padded to `samples` (the longest by default), rounded up to whole latents.

    Mono is given to both sides of a stereo batch. Raises ValueError for an item longer than `samples`.
    """
    counts = [len(pair.sound) for pair in pairs]
    samples = max(counts) if samples is None else samples
    if max(counts) > samples:
        raise ValueError(f"an item of {max(counts)} samples does not fit in {samples}")
    total = latent_count(samples, ratio)
    waves = [np.atleast_2d(pair.sound.values.T).T for pair in pairs]
    channels = max(wave.shape[1] for wave in waves)
    sound = torch.zeros(len(pairs), channels, total * ratio)
    for i, wave in enumerate(waves):
        if wave.shape[1] not in (1, channels):
            raise ValueError(f"sounds of {wave.shape[1]} and of {channels} channels in one batch")
        sound[i, :, : len(wave)] = torch.from_numpy(np.ascontiguousarray(wave.T, np.float32))
    held = torch.tensor([latent_count(count, ratio) for count in counts])
    features, real = padded([torch.from_numpy(np.asarray(pair.features.values, np.float32)) for pair in pairs])
    return Batch(sound, features, torch.arange(total) < held[:, None], real.bool())


@torch.no_grad()
def latents_of(codec: Oobleck, sound: Tensor, generator: torch.Generator) -> Tensor:
    """Sampled latents [B, C, T] of sound [B, channels, N], encoded one after the other as the published code does."""
    items = []
    for item in sound:
        mean, std = codec.encode(item[None])
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        items.append(codec.sample(mean, std, noise))
    return torch.cat(items)


# The objective ---------------------------------------------------------------------------


def long_form_loss(
    network: Any,
    latents: Tensor,
    features: Tensor,
    generator: torch.Generator,
    *,
    latent_mask: Tensor | None = None,
    context_mask: Tensor | None = None,
    objective: Objective = V,
    dropout: float = 0.1,
    times: Literal["uniform", "logit_normal", "log_snr"] = "uniform",
) -> Tensor:
    """Mean squared error of the prediction over the real latents of latents [B, C, T] under features [B, S, D].

    `network` is a `DiT`; the masks are those of a `Batch`, none where all items are equally long. Each item's features
    are replaced by zeros with probability `dropout`, which is what guidance is set against. All draws come from
    `generator`, on the CPU.
    """
    t = training_times(len(latents), generator, times).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    prediction = network(
        objective.noised(latents, noise, t),
        t,
        cross=drop(features, dropout, generator),
        context_mask=context_mask,
        mask=latent_mask,
    )
    return masked_mse(prediction, objective.target(latents, noise, t), latent_mask)


# From films to a folder ------------------------------------------------------------------


def train_folder(
    out: Path,
    films: Path,
    *,
    size: str | None = None,
    init: Path | None = None,
    parts: Mapping[str, Path],
    course: Course,
) -> Path:
    """LoVA trained on films (`training.films`), written to `out`. The denoiser learns; codec and CLIP stay.

    Sound and features are read once. Splices are cut anew at each step, so that the codec, whose latents are drawn,
    is asked then. Raises BadInputError for films, weights or an `out` that cannot be used.
    """
    from synchresis.systems.lova import Lova

    listed = opened(out, films)
    loaded = begun("lova", size, init, parts, ("denoiser",), course.seed)
    lova = Lova(loaded, course.device)
    codec, longest = lova.codec, Fraction(max(1, math.floor(lova.trained)))
    if tuple(lova.routing.cross) != (lova.picture["id"],) or lova.numbers is not None:
        raise BadInputError("training knows the LoVA that the picture alone conditions: this one is told numbers too")

    def make(_: Film, lesson: Lesson) -> tuple[Track, Track]:
        fps = Fraction(int(lesson["fps"][0]), int(lesson["fps"][1]))
        return Track(lesson["sound"].numpy(), Fraction(lova.rate)), Track(lesson["features"].numpy(), fps)

    with lessons_folder(course.cache) as folder:
        lessons = lessons_of(
            loaded, ("clip",), listed, lambda film: read_film(lova, film.path, longest), make, course, folder
        )
        rng, draw = np.random.default_rng(course.seed), torch.Generator().manual_seed(course.seed)

        def batches() -> Iterator[Batch]:
            while True:
                pairs = []
                for i in rng.integers(len(lessons), size=course.batch).tolist():
                    sound, features = lessons[i]
                    target = drawn_length(min(sound.duration, features.duration), longest, rng)
                    pairs.append(splice(sound, features, target, rng))
                yield collate(pairs, codec.config.ratio)

        def loss(batch: Any) -> Tensor:
            batch = on(course.device, batch)
            return long_form_loss(
                lova.denoiser,
                latents_of(codec, batch.sound, draw) / lova.latent_scale,
                batch.features,
                draw,
                latent_mask=batch.latent_mask,
                context_mask=batch.context_mask,
                objective=lova.objective,
            )

        output = output_for(loaded, out, ("denoiser",), course, lessons, init)
        weights = train(
            lova.denoiser, batches(), loss, steps=course.steps, peak=course.rate, report=course.reported,
            saving=output.saving,
        )  # fmt: skip
    lova.denoiser.load_state_dict(weights)
    return output.finish()


def read_film(lova: Lova, film: Path, longest: Fraction) -> list[Lesson]:
    """Sound [N, channels] and CLIP's features [S, D] of each stretch of a film, at most `longest` (whole seconds).

    Silent stretches are left out. Raises BadInputError for a film without picture or sound, or one that is silent or
    under a second.
    """
    from synchresis.encoders.clip import frame_features
    from synchresis.media import probe, read_sound
    from synchresis.systems.published import need_picture

    clip = probe(film)
    need_picture(clip)
    fps = as_fraction(lova.picture.get("config", {}).get("fps", 22))
    spans = stretches(clip.duration, longest, 1)
    if not clip.audio:
        raise BadInputError("it has no sound")
    features = frame_features(lova.clip, clip, rate=fps).values
    channels, lessons = lova.codec.config.audio_channels, []
    for span in spans:
        sound = read_sound(clip, rate=lova.rate, span=span).values
        if np.abs(sound).max(initial=0.0) < 1e-4:
            continue
        if sound.shape[1] != channels:
            sound = np.repeat(sound.mean(axis=1, keepdims=True), channels, axis=1)
        seen = features[math.floor(span.start * fps) : math.ceil(span.end * fps)]
        told = {"sound": sound, "features": seen, "fps": np.array([fps.numerator, fps.denominator])}
        lessons.append({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in told.items()})
    if not lessons:
        raise BadInputError("it is silent")
    return lessons
