"""pocket: our own small system, whose weights travel in the package; its pictures for sounds are in `pocket_picture`.

The design of Stable-V2A in miniature. A watcher looks at the picture and says when something strikes, how loud it is
and whether it can tell at all. A small DiT with a control branch makes latents under those tracks, told also by
words or by a reference sound, in windows that join over any length. A small codec turns latents into sound, and
the level is imposed by arithmetic, so the loudness that was asked for is the loudness that is heard.

Weights: `pocket_weights/`, with a model card. Trained by `synchresis train pocket`. Figures: docs/pocket.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors import SafetensorError

from synchresis.codecs import mel
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source, normal
from synchresis.diffusion.objectives import FLOW, Network
from synchresis.diffusion.samplers import euler, linear_times
from synchresis.diffusion.windows import cut, windowed
from synchresis.encoders.watcher import Watched, pick, watch
from synchresis.errors import BadInputError
from synchresis.media import Clip, read_loudness, read_sound
from synchresis.nn.mel_vae import MelVAE, MelVAEConfig
from synchresis.nn.sounder import CELLS, Sounder, SounderConfig, control_tensor, reference_statistics
from synchresis.nn.watcher import Watcher, load_watcher
from synchresis.nn.words import split_words, word_parts
from synchresis.systems.devices import pick_device
from synchresis.systems.packaged import pocket_folder
from synchresis.systems.published import need_picture, sound_clip
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.timeline.envelope import impose_envelope
from synchresis.timeline.files import quantise_envelope, quantise_onsets, read_onsets
from synchresis.timeline.onsets import Onsets
from synchresis.timeline.time import sample_count
from synchresis.timeline.track import Track

CELL_RATE = Fraction(100)     # Hz, of loudness and of the codec's frames
RATE = 48_000                 # Hz, mono: what films carry
STEPS = 12                    # Euler steps
WORDS_GUIDANCE = 4.0          # weight of the words and the reference
CONTROL_GUIDANCE = 1.5        # weight of onsets and loudness
WINDOW, OVERLAP = 128, 32     # latents: 5.12 s, 1.28 s
TURNS = 1                     # of Griffin-Lim: more smear rain, none leaves pitch hoarse
CHUNK, MARGIN = 200, 28       # latents decoded at once, and their context on each side
LOUD_DB = -18.0               # RMS of the loudest 100 ms when the level is ours to choose
PHASES = 1 << 40              # the noise stream of the decoder, out of the way of the sampler's
SINK = np.linspace(6.0, 24.0, 12)  # dB under an onset's level, over the 120 ms before it
LIFTED = np.linspace(1.0, 0.0, 20)  # how much of a lift the 200 ms after an onset share
ACCENT = 5                    # cells after an onset over which its level falls by 1 dB a cell
SURE, UNSURE = 0.6, 0.45       # of `sureness`: from the first on onsets lead; under the second the picture is not used

PARTS = ("watcher", "codec", "generator")


@dataclass(frozen=True)
class Settings:
    """Whatever can be told to pocket has an option of its own."""


@dataclass(frozen=True)
class PocketPlan:
    """What was decided before any sound is made (see `synchresis.systems.request.Plan`)."""

    mode: str
    duration: Fraction
    onsets: Onsets | None
    told: Track | None        # 100 Hz, linear RMS, imposed exactly
    hint: Track | None        # 100 Hz, linear RMS, a coarse wish that the generator may fill in
    watched: Watched | None
    words: str | None
    reference: torch.Tensor | None   # [1, 256]
    seed: int
    steps: int
    guidance: float
    notes: list[str] = field(default_factory=list)
    rate: int = RATE


class Pocket:
    """Sound for a picture, offline. Load with `synchresis.load("pocket")`."""

    name = "pocket"
    rate = RATE
    untrained: str | None = None
    key_report: str | None = None

    def __init__(
        self,
        watcher: Watcher,
        codec: MelVAE,
        generator: Sounder,
        vocabulary: Sequence[str],
        weights_hash: str,
        device: str,
    ) -> None:
        self.watcher = watcher.eval().to(device)
        self.codec = codec.eval().to(device)
        self.generator = generator.eval().to(device)
        self.known = {part for word in vocabulary for part in word_parts(word) if len(part) > 3}
        self.weights_hash = weights_hash
        self.device = device

    @classmethod
    def load(cls, weights: str | Path | None = None, device: str = "auto") -> Pocket:
        """From the package, from a folder made by `synchresis train pocket`, or from the hub.

        Raises BadInputError when the folder does not hold pocket's parts, or others than these networks'.
        """
        folder = pocket_folder(weights, PARTS)
        try:
            watcher = load_watcher(folder.files["watcher"])
            codec = MelVAE(MelVAEConfig(**folder.described["codec"]))
            generator = Sounder(SounderConfig(**folder.described["generator"]))
            folder.fill("codec", codec)
            folder.fill("generator", generator)
            vocabulary = folder.described["vocabulary"]
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BadInputError(f"the weights in {folder.place} do not fit pocket's networks: {error}") from error
        return cls(watcher, codec, generator, vocabulary, folder.digest, pick_device(device))

    # Watching

    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, Watched]:
        """Onsets, a loudness to edit (100 Hz, linear RMS), and the raw tracks, of the picture of a clip."""
        watched = watch(clip, self.watcher, lambda done: progress("watch", done))
        onsets = quantise_onsets(pick(watched))
        return onsets, quantise_envelope(seen_loudness(watched, onsets, clip.duration)), watched

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> PocketPlan:
        """Look at the clip, read the request's files, and decide what leads: onsets, loudness, or the prompt."""
        need_picture(clip)
        settings_of(Settings, request.settings, self.name)
        notes: list[str] = []
        onsets = told = hint = watched = None
        if request.onsets is not None:
            onsets = read_onsets(request.onsets)
        if request.envelope != "auto":
            told = read_loudness(request.envelope)
            if told.span.end < clip.duration:
                notes.append(f"the envelope ends at {float(told.span.end):.2f} s: silence after it")
        if onsets is None and told is None:
            seen, loudness, watched = self.watch(clip, progress)
            confidence = sureness(watched, seen)
            if confidence >= SURE and len(seen):
                onsets = seen
            elif confidence >= UNSURE:
                hint = loudness
                why = "is unsure of what it sees" if len(seen) else "sees no separate onset"
                notes.append(
                    f"the watcher {why} (confidence {confidence:.2f}): "
                    "the loudness it sees leads, not onsets; --onsets FILE overrides"
                )
            else:
                notes.append(
                    f"the watcher sees nothing that sounds (confidence {confidence:.2f}): "
                    "the prompt alone leads; --onsets or --envelope override"
                )
        mode = "onsets" if onsets is not None else "loudness" if told is not None or hint is not None else "prompt"
        reference = None if request.like is None else self._reference(request.like)
        notes += self._strange_words(request.prompt)
        return PocketPlan(
            mode=mode,
            duration=clip.duration,
            onsets=onsets,
            told=told,
            hint=hint,
            watched=watched,
            words=request.prompt or None,
            reference=reference,
            seed=request.seed,
            steps=STEPS if request.steps is None else request.steps,
            guidance=WORDS_GUIDANCE if request.guidance is None else request.guidance,
            notes=notes,
        )

    def _strange_words(self, prompt: str | None) -> list[str]:
        words = [word for word in split_words(prompt or "") if len(word) > 3]
        strange = [word for word in words if not word_parts(word) & self.known]
        return [f"pocket was never taught: {', '.join(strange)}"] if strange else []

    def _reference(self, path: Path) -> torch.Tensor:
        """Statistics of the loudest ten seconds of a reference sound: [1, 256]."""
        sound = read_sound(path, rate=mel.RATE, mono=True)
        samples = np.ascontiguousarray(sound.values, dtype=np.float32).reshape(-1)
        if not np.isfinite(samples).all():
            raise BadInputError(f"{path} holds values that are not numbers: export the reference sound again")
        samples = samples[: len(samples) // mel.HOP * mel.HOP]
        if len(samples) < mel.RATE // 10 or np.abs(samples).max() < 1e-4:
            raise BadInputError(f"{path} is silent or shorter than 0.1 s: give a reference sound that can be heard")
        length = 10 * mel.RATE
        if len(samples) > length:
            power = np.square(samples).reshape(-1, mel.HOP).mean(1)
            power = np.convolve(power, np.ones(length // mel.HOP), mode="valid")
            first = int(power.argmax()) * mel.HOP
            samples = samples[first : first + length]
        heard = torch.from_numpy(samples)[None]
        level = mel.level_db(heard)
        loud = (level > torch.quantile(level, 0.95) - 30.0).float()
        return reference_statistics(mel.shapes(heard), loud)

    sound = sound_clip

    # Sounding

    def stream(self, plan: PocketPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of a plan in blocks [n, 1] float32 at 48 kHz, exactly as long as the picture."""
        latents = self._sample(plan, progress)
        level = self._level(plan, latents)
        wanted = sample_count(plan.duration, RATE)
        resampler = soxr.ResampleStream(mel.RATE, RATE, 1, dtype="float32")
        sent = 0
        total = latents.shape[-1]
        for first in range(0, total, CHUNK):
            stop = min(first + CHUNK, total)
            block = self._decode(plan, latents, level, first, stop)
            out = _limited(resampler.resample_chunk(block[:, None], last=stop == total)[: wanted - sent])
            sent += len(out)
            progress("decode", stop / total)
            if len(out):
                yield out
        if sent < wanted:
            yield np.zeros((wanted - sent, 1), dtype=np.float32)

    @torch.no_grad()
    def _sample(self, plan: PocketPlan, progress: Progress) -> torch.Tensor:
        """Euler steps of the rectified flow from the noise of the place to latents [1, latent + 4, T]."""
        net, device = self.generator, self.device
        length = -(-sample_count(plan.duration, mel.RATE) // (mel.HOP * CELLS))
        control = self._control(plan, length).to(device)
        reference = None if plan.reference is None else plan.reference.to(device)
        told, silent = net.told([plan.words], reference), net.told([None], None)
        spoken = plan.words is not None or reference is not None

        def make(spans: Sequence[tuple[int, int]]) -> Network:
            """Nothing said, then the control, then the words: each addition with its own weight."""
            parts = cut(control, spans)
            many = len(spans)
            base = {"told": silent.expand(many, -1), "control": torch.zeros_like(parts)}
            branches = []
            if plan.mode != "prompt":
                branches.append(Branch({**base, "control": parts}, CONTROL_GUIDANCE))
            if spoken:
                branches.append(Branch({"told": told.expand(many, -1), "control": parts}, plan.guidance))
            return guided(net, base, branches, objective=FLOW)

        network = windowed(make, length, WINDOW, OVERLAP, batch=4)
        times = linear_times(plan.steps)
        noise = noise_source([plan.seed], net.config.latent + CELLS, length, device=device)
        x = euler(network, noise(0), times, lambda i, _x, _d: progress("generate", (i + 1) / plan.steps))
        return x * net.latent_std + net.latent_mean

    def _control(self, plan: PocketPlan, length: int) -> torch.Tensor:
        cells = length * CELLS
        level = onsets = None
        wish = plan.told if plan.told is not None else plan.hint
        if wish is not None:
            level = relative(decibels(wish, cells))[None] / 20.0
        if plan.onsets is not None:
            onsets = torch.zeros(1, cells)
            for cell, strength in onset_cells(plan.onsets, cells).items():
                onsets[0, cell] = strength
        return control_tensor(level, onsets, length)

    def _level(self, plan: PocketPlan, latents: torch.Tensor) -> Track:
        """The level to impose, 100 Hz linear RMS: what was told, or what the generator chose, held to the onsets."""
        cells = latents.shape[-1] * CELLS
        if plan.told is not None:
            return Track(told_level(plan.told, cells), CELL_RATE)
        chosen = latents[0, -CELLS:].T.reshape(-1).cpu().numpy().astype(np.float64) * 20.0
        chosen = np.clip(chosen, -60.0, 12.0)  # what it was taught: strong guidance overshoots
        if plan.onsets is not None:
            chosen = held_to_onsets(chosen, plan.onsets)
        amplitude = 10 ** (chosen / 20)
        loudest = np.sqrt(np.convolve(np.square(amplitude), np.full(10, 0.1), mode="same").max())
        amplitude *= 10 ** (LOUD_DB / 20) / max(loudest, 10**-2.5)
        return Track(np.where(amplitude > mel.FLOOR, amplitude, 0.0).astype(np.float32), CELL_RATE)

    @torch.no_grad()
    def _decode(self, plan: PocketPlan, latents: torch.Tensor, level: Track, first: int, stop: int) -> np.ndarray:
        """Samples [n] at 32 kHz of the latents first..stop; the context on each side makes cuts inaudible and exact."""
        begin, end = max(0, first - MARGIN), min(latents.shape[-1], stop + MARGIN)
        shapes = self.codec.decode(latents[..., begin:end][:, : self.codec.config.latent])
        hop = mel.HOP * CELLS
        noise = torch.from_numpy(normal(plan.seed, 1, begin * hop, end * hop, stream=PHASES))
        samples = mel.invert(shapes.cpu(), noise, TURNS)[0].numpy()
        sound = Track(samples, Fraction(mel.RATE), Fraction(begin, mel.LATENT_RATE))
        told = Track(level.values[begin * CELLS : end * CELLS], CELL_RATE, Fraction(begin * CELLS, 100))
        shaped = impose_envelope(sound, told, max_db=60.0)
        return shaped.values[(first - begin) * hop : (stop - begin) * hop]


def told_level(track: Track, cells: int) -> np.ndarray:
    """A linear RMS track on the first `cells` 10 ms cells of the timeline, float32; silent where it says nothing."""
    times = (np.arange(cells) + 0.5) / 100
    inside = (times >= float(track.span.start)) & (times < float(track.span.end))
    return np.where(inside, track.at(times), 0.0).astype(np.float32)


def decibels(track: Track, cells: int) -> torch.Tensor:
    """The same in dB, no lower than the codec's floor."""
    return torch.from_numpy(20.0 * np.log10(np.maximum(told_level(track, cells), mel.FLOOR))).float()


def relative(db: torch.Tensor) -> torch.Tensor:
    """Level in dB relative to its loud part, as the generator was taught: -60 to 12."""
    return (db - torch.quantile(db, 0.95).clamp_min(-60.0)).clamp(-60.0, 12.0)


def onset_cells(onsets: Onsets, cells: int) -> dict[int, float]:
    """The 10 ms cell of every onset inside the film, in order, and its strength."""
    numbers = np.floor(onsets.times * 100 + 1e-6).astype(int).tolist()
    told = zip(numbers, onsets.strengths.tolist(), strict=True)
    return {number: strength for number, strength in told if 0 <= number < cells}


def held_to_onsets(level: np.ndarray, onsets: Onsets) -> np.ndarray:
    """A generated level [cells] in dB, made to rise at the given onsets and nowhere else.

    At an onset the level jumps, within its own 10 ms cell, to what the generator meant for the next 60 ms, as far as
    that agrees with the onset's strength (0 dB at 1, -10 dB at 0, within -4 to +2 dB), and the next 200 ms follow; the
    120 ms before sink away under it. Between onsets it may swell by no more than 1 dB in 100 ms, which is less than
    what counts as an onset (`synchresis.timeline.onsets.detect_onsets`).
    """
    held = level.copy()
    cells = len(level)
    peaks = {}
    for start, strength in onset_cells(onsets, cells).items():
        meant = float(level[max(0, start - 2) : start + 6].max())
        told = -10.0 * (1.0 - strength)
        peaks[start] = min(max(meant, told - 4.0), told + 2.0)
        after = slice(start, start + len(LIFTED))
        held[after] += (peaks[start] - meant) * LIFTED[: len(held[after])]
    ceiling, since = -90.0 if peaks else np.inf, ACCENT
    for cell in range(cells):
        if cell in peaks:
            ceiling = peaks[cell]
            held[cell] = ceiling
            before = slice(max(0, cell - len(SINK)), cell)
            held[before] = np.minimum(held[before], ceiling - SINK[len(SINK) - cell + before.start :])
            ceiling -= 1.0
            since = 0
        else:
            held[cell] = min(held[cell], ceiling)
            since += 1
            ceiling += -1.0 if since < ACCENT else 0.1
            ceiling = max(min(ceiling, held[cell] + 1.5), -60.0)
    return held


def sureness(watched: Watched, onsets: Onsets) -> float:
    """How sure the watcher is of a clip, 0..1: its mean confidence at the onsets it saw, or all over if it saw none.

    At the onsets, since a slow rhythm leaves long stretches in which rightly nothing is seen to sound.
    """
    values = watched.confidence.at(onsets.times) if len(onsets) else watched.confidence.values
    return float(np.mean(values)) if len(values) else 0.0


def seen_loudness(watched: Watched, onsets: Onsets, duration: Fraction) -> Track:
    """What the watcher thinks of the loudness, as an envelope that a person can edit: 100 Hz, linear RMS.

    A level cannot be seen, only a shape (notes of docs/pocket.md): a bed that follows the seen loudness, and on it
    an attack at each onset that dies away with a time constant of 120 ms.
    """
    cells = sample_count(duration, 100)
    times = (np.arange(cells) + 0.5) / 100
    bed = np.clip(watched.loudness.at(times), 0.0, 1.0)
    envelope = 10 ** ((-48.0 + 26.0 * bed) / 20)
    for time, strength in zip(onsets.times, onsets.strengths, strict=True):
        first = int(time * 100)
        tail = np.exp(-(np.arange(cells - first) / 100) / 0.12) * 0.15 * (0.3 + 0.7 * strength)
        envelope[first:] = np.maximum(envelope[first:], tail)
    return Track(envelope.astype(np.float32), CELL_RATE)


def _limited(sound: np.ndarray) -> np.ndarray:
    """Samples that stay inside -1..1: untouched up to 0.7, bent above."""
    size = np.abs(sound)
    bent = 0.7 + 0.29 * np.tanh((size - 0.7) / 0.29)
    return (np.sign(sound) * np.where(size > 0.7, bent, size)).astype(np.float32)
