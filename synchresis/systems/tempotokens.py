"""TempoTokens: a film for a sound (Yariv et al. 2023, arXiv 2309.16429).

BEATs listens to stretches of two seconds. A mapper makes 24 vectors of each, their running means over four windows,
and one vector for the whole; the six replace six words of a prompt, so that a text-to-video model that was never
trained on sound is told something else about every frame. Only the mapper was trained.

A sound of any length: stretches overlap by half and what they say is blended frame by frame; the latents of the whole
film are denoised at once, the UNet looking at windows that overlap. Source: TempoTokens spec; what the published code
does and we do differently is listed in docs/tempotokens.md.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source, normal
from synchresis.diffusion.objectives import Network
from synchresis.diffusion.windows import Span as Cells
from synchresis.diffusion.windows import blending, windowed
from synchresis.encoders.beats import BANDS_AT_ONCE, RATE, filter_bank, normalised
from synchresis.encoders.clip_prompt import PLACEHOLDERS
from synchresis.encoders.resampling import sinc_resampled
from synchresis.errors import BadInputError
from synchresis.media import Clip, frames, stream_sound
from synchresis.nn.beats import Beats, BeatsConfig
from synchresis.nn.mapper import Mapped, Mapper, MapperConfig
from synchresis.systems import video_base
from synchresis.systems.latent_unet import Schedule
from synchresis.systems.lora import corrected, read_lora
from synchresis.systems.picturing import PictureRequest, frame_count, probe_sound
from synchresis.systems.published import FromWeights, picture_sound
from synchresis.systems.request import Progress, quiet, settings_of
from synchresis.systems.video_base import TextToVideoBase, Zeroscope
from synchresis.systems.weights import KeyReport, Loaded, fill, read_tensors, skeleton
from synchresis.timeline import Span, sample_count
from synchresis.timeline.onsets import Onsets

FRAMES = 24                  # vectors that the mapper makes of a stretch
STEPS, GUIDANCE = 25, 25.0   # as published
KEPT = 480                   # frames up to which all states are kept; of longer films they are made at every step
KEEP_STREAM = 1 << 41        # of the noise that chooses what the class token's dropout keeps

# What is published ----------------------------------------------------------------------------------

# The `cfg` of BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt, as far as the network depends on it.
BEATS: dict[str, Any] = {name: f.default for name, f in BeatsConfig.__dataclass_fields__.items()}
MAPPER: dict[str, int] = {"input": 9216, "hidden": 2304, "output": 1024}

SIZES: dict[str, dict[str, Any]] = {
    "full": {"base": video_base.FULL, "beats": BEATS, "mapper": MAPPER, "width": 384, "height": 384},
    "small": {
        "base": video_base.SMALL,
        "beats": BEATS
        | {"embed_dim": 32, "encoder_layers": 2, "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 96}
        | {"encoder_attention_heads": 4, "conv_pos": 16, "conv_pos_groups": 4, "num_buckets": 32, "max_distance": 40}
        | {"predictor_class": 11},
        "mapper": {"input": 96, "hidden": 40, "output": 32},
        "width": 64,
        "height": 64,
    },
}

PARTS = {
    "base": "the text-to-video model, a diffusers folder or hub id: cerspense/zeroscope_v2_576w, which the published "
    "mappers were trained with (CC BY-NC 4.0), or another of ModelScope's family",
    "beats": "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt: the file, or a folder with it",
}


@dataclass(frozen=True)
class Settings:
    """What can be told to TempoTokens besides the options of `synchresis picture`."""

    sound: bool = field(default=True, metadata={"help": "false: the prompt alone leads, the sound only says how long"})
    stretch: int = field(default=2, metadata={"help": "seconds that the mapper hears at once and makes 24 frames of"})
    window: int = field(default=24, metadata={"help": "frames that the video model sees at once"})
    overlap: int = field(default=8, metadata={"help": "frames that neighbouring windows share where they are blended"})
    join: str = field(
        default="blend",
        metadata={
            "help": "how windows become one film: blend overlaps, or, as published, rotate windows that do not overlap "
            "by another prime at every step, which makes the end run into the beginning",
            "choices": ("blend", "rotate"),
        },
    )
    loop: bool = field(default=False, metadata={"help": "the film's end runs into its beginning: see join=rotate"})
    vae_batch: int = field(default=8, metadata={"help": "frames that are decoded, or encoded, at once"})
    precision: str = field(
        default="full",
        metadata={
            "help": "half: the video model computes in float16 (bfloat16 on a processor), which needs less memory",
            "choices": ("full", "half"),
        },
    )
    tiles: bool = field(default=False, metadata={"help": "decode frames in tiles, which needs less memory"})
    solver: str = field(
        default="zero",
        metadata={
            "help": "where the last step ends: at no noise, or at the schedule's least, as diffusers did before 0.19",
            "choices": ("zero", "least"),
        },
    )
    lora_rank: int = field(
        default=0, metadata={"help": "of --lora: 0 takes all of it, n only the n strongest directions of each matrix"}
    )
    published_order: bool = field(
        default=False,
        metadata={
            "help": "frames hear one part of the frequencies each, in turn, as the published code cuts BEATs' tokens; "
            "false: every frame hears all of them"
        },
    )
    class_dropout: bool = field(
        default=False,
        metadata={"help": "half of the class token's attention is dropped at random, as the published code does"},
    )

    def check(self) -> None:
        """Raises BadInputError for numbers that cannot be."""
        if not 1 <= self.stretch <= 4:
            raise BadInputError(f"--set stretch={self.stretch}: choose 1 to 4 seconds")
        if self.window < 1 or self.vae_batch < 1 or self.lora_rank < 0:
            raise BadInputError("--set window= and vae_batch= must be at least 1, lora_rank= at least 0")
        if not 0 <= self.overlap < self.window:
            raise BadInputError(f"--set overlap={self.overlap}: must be less than the window of {self.window} frames")


# The networks ---------------------------------------------------------------------------------------


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """"unet", "text", "vae", "beats" and "mapper" by name.

    Raises KeyError, TypeError or ValueError for a configuration that describes none.
    """
    beats = BeatsConfig.from_cfg(config["beats"])
    mapper = MapperConfig(**config["mapper"])
    if mapper.input != beats.encoder_layers * beats.encoder_embed_dim:
        raise ValueError(f"the mapper hears {mapper.input} numbers a token, BEATs' layers have other than that")
    if mapper.output != config["base"]["text"]["network"]["hidden_size"]:
        raise ValueError(f"the mapper's vectors are {mapper.output} long, the words of the base are not")
    if config["width"] % 8 or config["height"] % 8:
        raise ValueError("width and height must be multiples of 8")
    return video_base.build(config["base"]) | {"beats": Beats(beats), "mapper": Mapper(mapper)}


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """The published mapper, learned_embeds.pth: the file, or a folder with it.

    Raises BadInputError naming what is missing or does not fit.
    """
    if lost := sorted(PARTS.keys() - parts.keys()):
        raise BadInputError(f"{path} holds the mapper alone: add " + " and ".join(f"--part {p}=PLACE" for p in lost))
    file = path / "learned_embeds.pth" if path.is_dir() else path
    tensors = {name.removeprefix("module."): value for name, value in read_tensors(file).items()}
    try:
        hidden, width = tensors["fc1.weight"].shape
        sizes = {"input": width, "hidden": hidden, "output": tensors["fc4.weight"].shape[0]}
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{file} is no mapper of TempoTokens: it lacks fc1.weight or fc4.weight") from error
    cfg, beats, heard = read_beats(parts["beats"])
    base, networks, reports = video_base.read(parts["base"])
    config = {"base": base, "beats": cfg, "mapper": sizes, "width": 384, "height": 384}
    try:
        with skeleton():
            mapper = Mapper(MapperConfig(**sizes))
            build(config)  # do the parts go together?
    except ValueError as error:
        raise BadInputError(f"{file}, {parts['base']} and {parts['beats']} do not go together: {error}") from error
    reports += [heard, fill(mapper, tensors, component="mapper", source=file)]
    return Loaded("tempotokens", config, networks | {"beats": beats, "mapper": mapper}, reports)


def read_beats(place: Path) -> tuple[dict[str, Any], nn.Module, KeyReport]:
    """BEATs from its checkpoint, built by the `cfg` inside. Raises BadInputError where it is none."""
    file = place
    if place.is_dir():
        found = sorted(place.glob("BEATs*.pt"))
        if not found:
            raise BadInputError(f"{place} has no BEATs*.pt: {PARTS['beats']}")
        file = found[0]
    tensors = read_tensors(file)
    try:
        cfg = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))["cfg"]
        known = {name: cfg[name] for name in BEATS if name in cfg} | {"activation_fn": cfg["activation_fn"]}
        with skeleton():
            network = Beats(BeatsConfig.from_cfg(known))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(f"{file} is no BEATs checkpoint with its cfg: {error!r}") from error
    return known, network, fill(network, tensors, component="beats", source=file)


# Listening ------------------------------------------------------------------------------------------


def monaural(samples: np.ndarray, rate: int) -> Tensor:
    """Sound [N, C] at `rate` as BEATs gets it: [1, N'] at 16 kHz, resampled before the channels are averaged."""
    channels = [sinc_resampled(samples[:, c], rate, RATE) for c in range(samples.shape[1])]
    return torch.from_numpy(np.mean(channels, axis=0, dtype=np.float32))[None]


def spread_tokens(tokens: Tensor, published: bool, count: int = FRAMES) -> Tensor:
    """BEATs' tokens [B, N, D] in the order in which the mapper averages neighbours to `count` frames.

    Published: as they come, 8 bands for each time, so that a frame gets only some of the bands (spec section 4). Else
    the 8 bands of the time nearest to the frame's middle.
    """
    if published:
        return tokens
    times = tokens.shape[1] // BANDS_AT_ONCE
    nearest = ((torch.arange(count) + 0.5) * times / count).long()
    return tokens.unflatten(1, (times, BANDS_AT_ONCE))[:, nearest].flatten(1, 2)


def vectors_of(mapped: Mapped) -> Tensor:
    """What each placeholder becomes, in the order of PLACEHOLDERS: [F, 6, D] of one sound."""
    temporal = mapped.temporal[0]
    return torch.stack([temporal, *(local[0] for local in mapped.local), mapped.pooled.expand_as(temporal)], 1)


def at_frames(vectors: Tensor, rate: Fraction, fps: Fraction, count: int) -> Tensor:
    """Vectors [T, 6, D], one for each cell at `rate`, at the middles of `count` frames, linearly between."""
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) * float(rate / fps) - 0.5
    place = middles.clamp(0, len(vectors) - 1)
    before = place.floor().long().clamp_max(max(len(vectors) - 2, 0))
    after = (before + 1).clamp_max(len(vectors) - 1)
    share = (place - before)[:, None, None].to(vectors)
    return vectors[before] * (1 - share) + vectors[after] * share


# Sampling -------------------------------------------------------------------------------------------


def timesteps(schedule: Schedule, steps: int) -> list[int]:
    """`steps` falling timesteps, evenly from the noisiest on: diffusers' "linspace" for DPM-Solver++."""
    count = len(schedule.alphas)
    if not 1 <= steps < count:
        raise BadInputError(f"{steps} steps: ask for 1 to {count - 1}")
    return [int(t) for t in np.linspace(0, count - 1, steps + 1).round()[::-1][:-1]]


def solve(
    network: Callable[[int, Tensor, Tensor], Tensor],
    noise: Tensor,
    schedule: Schedule,
    times: Sequence[int],
    *,
    clean: Tensor | None = None,
    skip: int = 0,
    end: str = "zero",
    watch: samplers.Watch | None = None,
) -> Tensor:
    """DPM-Solver++, second order, midpoint: latents of the shape of `noise`.

    `network(i, x, t)` predicts at step i. `clean` latents are noised to times[skip], and the steps before are left out.
    `end` as in Settings. `watch` is told the state with its noise grown beside a signal of full size.
    """
    sigmas = [schedule.sigma(t) for t in times]
    steps = {sigma: i for i, sigma in enumerate(sigmas)}

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        i = steps[sigma]
        scaled = x / math.sqrt(1 + sigma**2)
        return schedule.clean(scaled, network(i, scaled, x.new_full((len(x),), times[i])), times[i])

    first = sigmas[skip]
    x = noise * math.sqrt(1 + first**2) if clean is None else clean + first * noise
    if end == "zero":
        return samplers.dpmpp_2m(denoiser, x, [*sigmas[skip:], 0.0], watch)
    least = schedule.sigma(0)
    if len(times) < 15:  # the last of few steps is of first order
        x = samplers.dpmpp_2m(denoiser, x, sigmas[skip:], watch)
        x = samplers.dpmpp_2m(denoiser, x, [sigmas[-1], least], watch)
    else:
        x = samplers.dpmpp_2m(denoiser, x, [*sigmas[skip:], least], watch)
    return x / math.sqrt(1 + least**2)


def rotating(
    make: Callable[[Sequence[int]], Network], total: int, window: int, shifts: Sequence[int], follow: bool = True
) -> Callable[[int, Tensor, Tensor], Tensor]:
    """The published round-robin: windows side by side, moved on by shifts[i mod n] frames at step i, around the end.

    `make(frames)` gives the network for these frames. The published code rolls the latents under windows that stand
    still, and everything that the solver remembers with them: which is the same, for the solver looks at each frame
    alone. `follow` False is its defect: what a window is told is that of the frames which stood there in the beginning.
    """

    def run(i: int, x: Tensor, t: Tensor) -> Tensor:
        moved = sum(shifts[k % len(shifts)] for k in range(i + 1))
        out = torch.empty_like(x)
        for start in range(0, total, window):
            here = list(range(start, min(start + window, total)))
            seen = [(frame - moved) % total for frame in here]
            out[..., seen] = make(seen if follow else here)(x[..., seen], t)
        return out

    return run


def prime_shifts(window: int, seed: int) -> list[int]:
    """The primes up to the window in an order drawn by the seed; 2 and 3 for the smallest windows."""
    primes = [n for n in range(2, window + 1) if all(n % k for k in range(2, math.isqrt(n) + 1))]
    primes = primes if window >= 3 else [2, 3]
    return [primes[i] for i in np.random.default_rng(seed).permutation(len(primes))]


def columns(latents: Tensor) -> Tensor:
    """[B, C, F, h, w] to [B, C * h * w, F]: one column a frame, so that noise and windows go along time."""
    return latents.permute(0, 1, 3, 4, 2).flatten(1, 3)


def pictured(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """[B, C * h * w, F] to [B, C, F, h, w]."""
    return x.unflatten(1, (channels, height, width)).permute(0, 1, 4, 2, 3).contiguous()


# The system -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TempoPlan:
    """What was decided before any picture is made (see `synchresis.systems.picturing.PicturePlan`).

    `vectors` [F, 6, D] is what each placeholder becomes in each frame, None where the sound does not lead.
    """

    mode: str
    duration: Fraction
    fps: Fraction
    frames: int
    width: int
    height: int
    prompt: str
    negative: str
    vectors: Tensor | None
    film: Clip | None
    film_weight: float
    corrections: dict[str, Tensor]
    seed: int
    steps: int
    guidance: float
    settings: Settings
    notes: list[str]
    onsets: Onsets | None = None


class TempoTokens(FromWeights):
    """A film for a sound of any length. Load with `load_picture("tempotokens", FILE, parts=...)`."""

    name = "tempotokens"

    def __init__(self, loaded: Loaded, device: str) -> None:
        super().__init__(loaded, device)
        self.beats: Beats = loaded.components["beats"]  # type: ignore[assignment]
        self.mapper: Mapper = loaded.components["mapper"]  # type: ignore[assignment]
        self.base: TextToVideoBase = Zeroscope(loaded.config["base"], loaded.components)

    picture = picture_sound

    # What to make

    @torch.no_grad()
    def prepare(self, sound: Path, request: PictureRequest, progress: Progress = quiet) -> TempoPlan:
        """Listens to the sound, and settles how the film is made. Serves every wish but onsets."""
        clip = probe_sound(sound)
        if request.onsets is not None:
            raise BadInputError(f"{self.name} is led by what it hears: leave --onsets out, or use --system pocket")
        settings = settings_of(Settings, request.settings, self.name)
        settings.check()
        fps = request.rate(clip.duration, Fraction(FRAMES, settings.stretch))
        count = frame_count(clip.duration, fps)
        width, height = request.width or self.config["width"], request.height or self.config["height"]
        if width % self.base.fold or height % self.base.fold:
            raise BadInputError(f"--width {width} --height {height}: must be multiples of {self.base.fold}")
        words = request.prompt or ""
        named = [word for word in self.base.placeholders if word in words]
        if not settings.sound and (not words or named):
            raise BadInputError("--set sound=false: give a --prompt without <temp> and its kin, which leads alone")
        prompt = words if named or not settings.sound else f"{words} {' '.join(self.base.placeholders)}".strip()
        self.base.told(prompt, {})  # refuses a prompt that is too long, before any work
        negative = request.negative or ""
        if any(word in negative for word in self.base.placeholders):
            raise BadInputError("--negative is told in words alone: leave <temp> and its kin out")
        notes = []
        if count > settings.window:
            notes.append(f"denoised in windows of {settings.window} frames, joined by {self._join(settings, count)}")
        if settings.sound and clip.duration > settings.stretch:
            notes.append(f"heard in stretches of {settings.stretch} s that overlap by half, blended frame by frame")
        mode = "prompt"
        if settings.sound:
            mode = "sound and prompt" if _without(words, named).strip() else "sound"
        return TempoPlan(
            mode=mode,
            duration=clip.duration,
            fps=fps,
            frames=count,
            width=width,
            height=height,
            prompt=prompt,
            negative=negative,
            vectors=self.heard(clip, fps, count, settings, request.seed, progress) if settings.sound else None,
            film=None if request.film is None else self._film(request.film),
            film_weight=0.5 if request.film_weight is None else request.film_weight,
            corrections=self._corrections(request.lora, settings.lora_rank),
            seed=request.seed,
            steps=STEPS if request.steps is None else request.steps,
            guidance=GUIDANCE if request.guidance is None else request.guidance,
            settings=settings,
            notes=notes,
        )

    def _film(self, path: Path) -> Clip:
        from synchresis.media import probe

        clip = probe(path)
        if clip.video is None:
            raise BadInputError(f"--film {path} has no picture to begin from")
        return clip

    def _corrections(self, path: Path | None, rank: int) -> dict[str, Tensor]:
        return {} if path is None else read_lora(path, self._correctable, rank)

    @property
    def _correctable(self) -> dict[str, nn.Module]:
        components = self.loaded.components
        tower: nn.Module = components["text"].tower  # type: ignore[assignment]
        return {"unet": components["unet"], "text_encoder": tower}

    @torch.no_grad()
    def heard(
        self, clip: Clip, fps: Fraction, count: int, settings: Settings, seed: int = 0, progress: Progress = quiet
    ) -> Tensor:
        """What each of `count` frames is told, [count, 6, D]: stretches that overlap by half, cross-faded."""
        rate, half = Fraction(FRAMES, settings.stretch), FRAMES // 2
        cells = max(math.ceil(clip.duration * rate), 1)
        starts = range(0, max(cells - half, 1), half)
        spans = [(start, start + FRAMES) for start in starts]
        total = spans[-1][1]
        vectors = torch.zeros(total, len(PLACEHOLDERS), self.base.width, device=self.device)
        sounds = _stretches(clip, [start / rate for start in starts], Fraction(settings.stretch))
        weights = blending(spans, total)
        for i, (samples, (start, stop), weight) in enumerate(zip(sounds, spans, weights, strict=True)):
            sound = monaural(samples, clip.audio[0].rate)
            told = vectors_of(self.map(sound.to(self.device), settings, seed, i))
            vectors[start:stop] += told * torch.from_numpy(weight).to(told)[:, None, None]
            progress("listen", (i + 1) / len(spans))
        return at_frames(vectors[:cells], rate, fps, count)

    def map(self, sound: Tensor, settings: Settings, seed: int = 0, stretch: int = 0) -> Mapped:
        """What the mapper says of sound [1, N] at 16 kHz, a stretch of `settings.stretch` seconds."""
        tokens = self.hear(sound)
        keep = None
        if settings.class_dropout:
            drawn = normal(seed, self.mapper.config.output, FRAMES * stretch, FRAMES * (stretch + 1), KEEP_STREAM)
            keep = torch.from_numpy(drawn > 0).to(tokens)[None]
        return self.mapper(spread_tokens(tokens, settings.published_order), FRAMES, keep)

    def hear(self, sound: Tensor) -> Tensor:
        """BEATs' tokens of sound [1, N] at 16 kHz: [1, N', D], all layers side by side."""
        return self.beats(normalised(filter_bank(sound))).concatenated

    # Picturing

    def pictures(self, plan: TempoPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The frames of a plan, uint8 [H, W, 3]; decoded a few at a time."""
        with corrected(self._correctable, plan.corrections):
            latents = self.latents(plan, progress)
        for i, part in enumerate(latents.split(plan.settings.vae_batch, dim=2)):
            with self._precision(plan.settings), self._tiles(plan.settings):
                some = list(self.base.decode(part, plan.settings.vae_batch))
            progress("decode", (i * plan.settings.vae_batch + len(some)) / plan.frames)
            yield from some

    @torch.no_grad()
    def latents(self, plan: TempoPlan, progress: Progress = quiet) -> Tensor:
        """The latents of a plan, [1, C, F, h, w]."""
        height, width = plan.height // self.base.fold, plan.width // self.base.fold
        cells = self.base.channels * height * width
        times = timesteps(self.base.schedule, plan.steps)
        skip = round(plan.film_weight * plan.steps) if plan.film is not None else 0
        if skip >= plan.steps:
            raise BadInputError(f"--film-weight {plan.film_weight}: leaves no step to make; take less, or more --steps")

        def told(i: int, x: Tensor, denoised: Tensor) -> None:
            progress("generate", min((skip + i + 1) / plan.steps, 1.0))

        with self._precision(plan.settings):
            clean = None if plan.film is None else columns(self._begun(plan))
            x = solve(
                self.network(plan, height, width),
                noise_source([plan.seed], cells, plan.frames, device=self.device)(0),
                self.base.schedule,
                times,
                clean=clean,
                skip=skip,
                end=plan.settings.solver,
                watch=told,
            )
        return pictured(x, self.base.channels, height, width)

    def network(self, plan: TempoPlan, height: int, width: int) -> Callable[[int, Tensor, Tensor], Tensor]:
        """The guided video model over all frames: (step, x [1, C h w, F], t [1]) to its prediction."""
        null = self.base.told(plan.negative, {})

        def predict(x: Tensor, t: Tensor, states: Tensor) -> Tensor:
            return columns(self.base.predict(pictured(x, self.base.channels, height, width), t, states).to(x))

        kept = self.states(plan, range(plan.frames)) if plan.frames <= KEPT else None

        def make(frames: Sequence[int]) -> Network:
            def run(x: Tensor, t: Tensor) -> Tensor:
                states = self.states(plan, frames) if kept is None else kept[list(frames)]
                against = {"states": null.expand_as(states)}
                return guided(predict, against, [Branch({"states": states}, plan.guidance)])(x, t)

            return run

        if self._join(plan.settings, plan.frames) == "rotate":
            window = min(plan.settings.window, plan.frames)
            return rotating(make, plan.frames, window, prime_shifts(window, plan.seed))

        def over(spans: Sequence[Cells]) -> Network:
            return make([frame for span in spans for frame in range(*span)])

        blended = windowed(over, plan.frames, plan.settings.window, plan.settings.overlap, batch=1)
        return lambda i, x, t: blended(x, t)

    def states(self, plan: TempoPlan, frames: Sequence[int]) -> Tensor:
        """What the video model is told about these frames, [len(frames), L, D]."""
        if plan.vectors is None:
            return self.base.told(plan.prompt, {}).expand(len(frames), -1, -1)
        vectors = plan.vectors[list(frames)]
        return self.base.told(plan.prompt, {word: vectors[:, i] for i, word in enumerate(self.base.placeholders)})

    def _begun(self, plan: TempoPlan) -> Tensor:
        """The latents of the film to begin from, spread over the length of the sound."""
        assert plan.film is not None
        length = plan.film.duration
        times = [length * (2 * i + 1) / (2 * plan.frames) for i in range(plan.frames)]
        pictures = (picture for _, picture in frames(plan.film, times=times, size=(plan.height, plan.width)))
        return self.base.encode(pictures, plan.settings.vae_batch)

    @staticmethod
    def _join(settings: Settings, count: int) -> str:
        return "rotate" if settings.loop or (settings.join == "rotate" and count > settings.window) else "blend"

    def _precision(self, settings: Settings) -> Any:
        if settings.precision == "full":
            return nullcontext()
        kind = self.device.partition(":")[0]
        return torch.autocast(kind, torch.bfloat16 if kind == "cpu" else torch.float16)

    def _tiles(self, settings: Settings) -> Any:
        return _tiled(self.loaded.components["vae"]) if settings.tiles else nullcontext()


def _without(text: str, words: Sequence[str]) -> str:
    for word in words:
        text = text.replace(word, "")
    return text


class _tiled:
    """An autoencoder of diffusers that decodes in tiles, for a while."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae

    def __enter__(self) -> None:
        self.vae.enable_tiling()

    def __exit__(self, *error: object) -> None:
        self.vae.disable_tiling()


def _stretches(clip: Clip, starts: Sequence[Fraction], length: Fraction) -> Iterator[np.ndarray]:
    """The sound [n, C] of stretches at its own rate, silence behind its end, read once."""
    rate = clip.audio[0].rate
    blocks = stream_sound(clip, span=Span(Fraction(0), clip.duration))
    held, first, ended = np.zeros((0, clip.audio[0].channels), np.float32), 0, False
    for start in starts:
        begin, stop = sample_count(start, rate), sample_count(start, rate) + sample_count(length, rate)
        while first + len(held) < stop and not ended:
            block = next(blocks, None)
            ended = block is None
            held = held if block is None else np.concatenate([held, block])
        held, first = held[begin - first :], begin
        yield np.pad(held[: stop - begin], ((0, max(stop - begin - len(held), 0)), (0, 0)))
