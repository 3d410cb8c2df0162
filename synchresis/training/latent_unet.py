"""Training of a UNet over latents: the noised target, its weight, dropped conditions, and joined clips.

Source: VTA-LDM spec sections 6 and 9. Where the published training does otherwise its way has a name: `epsilon` for the
weight, a dropout of 0 for the condition, and a linear layer that was left out of the optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from synchresis.diffusion.guidance import drop
from synchresis.errors import BadInputError
from synchresis.training.course import Course, begun, lessons_of, on, opened, output_for
from synchresis.training.films import Film, Lesson, lessons_folder, stretches
from synchresis.training.loop import Saving, train

if TYPE_CHECKING:
    from synchresis.media import Clip
    from synchresis.systems.vta_ldm import VtaLdm
    from synchresis.systems.weights import Loaded

DROPPED = 0.1        # of the conditions become zeros, so that guidance has something to be against
GAMMA = 5.0          # of the weight: levels cleaner than this signal-to-noise ratio count less

SnrForm = Literal["v", "epsilon"]


class Levels(Protocol):
    """What is needed of a discrete schedule (`synchresis.systems.latent_unet.Schedule`)."""

    @property
    def alphas(self) -> Tensor: ...

    @property
    def prediction(self) -> str: ...


def noised(schedule: Levels, clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, ...] at the timesteps [B], and what the network should say of them."""
    alpha = schedule.alphas.to(clean)[t].reshape(-1, *[1] * (clean.ndim - 1))
    signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    target = noise if schedule.prediction == "epsilon" else signal * noise - sigma * clean
    return signal * clean + sigma * noise, target


def min_snr_weights(schedule: Levels, t: Tensor, gamma: float = GAMMA, form: SnrForm = "v") -> Tensor:
    """The weight [B] of each timestep (Hang et al. 2023): min(snr, gamma) / (snr + 1) for a network that predicts v.

    "epsilon" divides by snr instead, as is right for one that predicts the noise and as the published training did with
    v all the same.
    """
    alpha = schedule.alphas[t]
    snr = alpha / (1 - alpha)
    return snr.clamp_max(gamma) / (snr if form == "epsilon" else snr + 1)


def loss_of(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The mean over the batch of each item's mean square error times its weight [B]."""
    return ((prediction - target).square().flatten(1).mean(1) * weights.to(prediction)).mean()


# Material -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A clip: features [S, D] at `rate` Hz, and sound [N] at `sound_rate` Hz; both begin with the clip."""

    features: Tensor
    rate: Fraction
    sound: Tensor
    sound_rate: int


def joined(first: Example, second: Example, cut: int, length: int) -> Example:
    """The first clip up to its feature `cut`, then the second from its own; `length` samples of sound, `S` features.

    Picture and sound change at the same instant, cut / rate seconds, whatever the two rates are (the published code
    counts samples of the file's rate in sound of another). Where the second ends early there is silence, and its last
    feature stands. Raises ValueError for clips of different rates, or a cut outside the first.
    """
    if (first.rate, first.sound_rate) != (second.rate, second.sound_rate):
        raise ValueError("clips of different rates cannot be joined")
    if not 0 < cut < len(first.features) or cut >= len(second.features):
        raise ValueError(f"a cut at feature {cut} lies outside clips of {len(first.features)}, {len(second.features)}")
    at = round(cut / first.rate * first.sound_rate)
    features = torch.cat([first.features[:cut], second.features[cut:]])[: len(first.features)]
    standing = features[-1:].expand(len(first.features) - len(features), -1)
    before, after = (_exactly(clip.sound, length) for clip in (first, second))
    return Example(
        torch.cat([features, standing]), first.rate, torch.cat([before[:at], after[at:]]), first.sound_rate
    )


def _exactly(sound: Tensor, length: int) -> Tensor:
    return nn.functional.pad(sound[:length], (0, max(length - len(sound), 0)))


# Training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Clean latents [B, 8, T, 16], features [B, S, D] with zeros behind the shorter, and which of them count [B, S]."""

    latents: Tensor
    features: Tensor
    mask: Tensor


class Trainee(nn.Module):
    """What is trained: the UNet, and the linear layer before it, which the published training forgot."""

    def __init__(self, unet: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.unet, self.projection = unet, projection

    def forward(self, noisy: Tensor, t: Tensor, features: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """Prediction [B, 8, T, 16]; items [B] that are not kept are told zeros, all of which count."""
        context = self.projection(features) * (mask & keep[:, None])[..., None]
        unet: Any = self.unet
        return unet(noisy, t, context, encoder_attention_mask=mask | ~keep[:, None], return_dict=False)[0]


def batch_loss(
    trainee: Trainee,
    batch: Batch,
    schedule: Levels,
    draw: torch.Generator,
    *,
    dropped: float = DROPPED,
    gamma: float | None = GAMMA,
    form: SnrForm = "v",
) -> Tensor:
    """The loss of a batch at timesteps drawn evenly; `gamma` None weighs all alike."""
    size = len(batch.latents)
    t = torch.randint(len(schedule.alphas), (size,), generator=draw)
    noise = torch.randn(batch.latents.shape, generator=draw).to(batch.latents)
    keep = drop(torch.ones(size, 1), dropped, draw)[:, 0].bool().to(batch.latents.device)
    noisy, target = noised(schedule, batch.latents, noise, t)
    prediction = trainee(noisy, t.to(noisy.device), batch.features, batch.mask, keep)
    weights = torch.ones(size) if gamma is None else min_snr_weights(schedule, t, gamma, form)
    return loss_of(prediction, target, weights)


def train_latent_unet(
    trainee: Trainee,
    batches: Iterator[Batch],
    schedule: Levels,
    *,
    steps: int,
    seed: int,
    peak: float = 1e-4,
    dropped: float = DROPPED,
    gamma: float | None = GAMMA,
    form: SnrForm = "v",
    decay: float = 0.999,
    report: Callable[[int, float], None] | None = None,
    saving: Saving | None = None,
) -> Trainee:
    """Trains in place for `steps` steps with a moving average of the weights, and returns it in `eval`."""
    draw = torch.Generator().manual_seed(seed)

    def one(batch: object) -> Tensor:
        assert isinstance(batch, Batch)
        return batch_loss(trainee, batch, schedule, draw, dropped=dropped, gamma=gamma, form=form)

    weights = train(trainee, batches, one, steps=steps, peak=peak, decay=decay, report=report, saving=saving)
    trainee.load_state_dict(weights)
    return trainee.eval()


# From films to a folder -----------------------------------------------------------------------------

LATENTS = 256        # of a stretch: 10.24 s, as published
TRAINED = ("unet", "projection")


@dataclass(frozen=True)
class Clipped:
    """A stretch of a film: latents [8, T, 16], and what goes through the linear layer [S, D] at `rate` Hz, words of
    which come first and count `words`.
    """

    latents: Tensor
    told: Tensor
    words: int
    rate: Fraction


def train_folder(
    out: Path,
    films: Path,
    *,
    size: str | None = None,
    init: Path | None = None,
    parts: Mapping[str, Path],
    course: Course,
) -> Path:
    """VTA-LDM trained on films (`training.films`), written to `out`. UNet and linear layer learn; the eye, the text
    tower and the codec stay.

    `init` is the published folder, a folder of ours, or a UNet to start from: its file, or a diffusers folder.
    Raises BadInputError for films, weights or an `out` that cannot be used.
    """
    from synchresis.systems.vta_ldm import VtaLdm

    listed = opened(out, films)
    loaded = _begun(size, init, parts, course.seed)
    system = VtaLdm(loaded, course.device)
    multiple = 2 ** (len(loaded.config["unet"]["block_out_channels"]) - 1)

    def make(film: Film, lesson: Lesson) -> Clipped:
        return told_of(system, lesson["latents"], lesson["features"], film.prompt)

    with lessons_folder(course.cache) as folder:
        lessons = lessons_of(
            loaded, ("encoder", "codec"), listed, lambda film: read_film(system, film.path, multiple), make, course,
            folder,
        )  # fmt: skip
        draw = torch.Generator().manual_seed(course.seed)

        def batches() -> Iterator[Batch]:
            while True:
                drawn = torch.randint(len(lessons), (course.batch,), generator=draw).tolist()
                yield on(course.device, collate([lessons[i] for i in drawn], system.codec.latent_rate))

        trainee = Trainee(loaded.components["unet"], loaded.components["projection"])
        output = output_for(loaded, out, TRAINED, course, lessons, init)
        train_latent_unet(
            trainee, batches(), system.schedule, steps=course.steps, seed=course.seed, peak=course.rate,
            report=course.reported, saving=output.saving,
        )  # fmt: skip
    return output.finish()


def _begun(size: str | None, init: Path | None, parts: Mapping[str, Path], seed: int) -> Loaded:
    from synchresis.systems import vta_ldm
    from synchresis.systems.weights import fill, read_tensors, taken

    if init is not None and ((init / "system.json").is_file() or (init / "summary.jsonl").is_file()):
        return begun("vta_ldm", size, init, parts, TRAINED, seed)
    pretrained = None if init is None else unet_file(init)
    if parts:
        return vta_ldm.begin(size or "full", parts, pretrained, seed)
    loaded = begun("vta_ldm", size, None, {}, TRAINED, seed)
    loaded.config["quirks"] = dict(vta_ldm.OUR_QUIRKS)
    if pretrained is not None:
        tensors = read_tensors(pretrained)
        state = taken(tensors, "unet.") or tensors
        loaded.reports.append(fill(loaded.components["unet"], state, component="unet", source=pretrained))
    return loaded


def unet_file(place: Path) -> Path:
    """The weights file of a diffusers folder of a UNet, or of a model that has one; another place is itself."""
    if not place.is_dir():
        return place
    names = [f"diffusion_pytorch_model.{suffix}" for suffix in ("safetensors", "bin")]
    found = [folder / name for folder in (place, place / "unet") for name in names if (folder / name).is_file()]
    if not found:
        raise BadInputError(
            f"--init {place} is neither a folder of ours (system.json) nor the published one (summary.jsonl), and does "
            f"not hold a UNet ({names[0]}, or unet/{names[0]})"
        )
    return found[0]


@torch.no_grad()
def read_film(system: VtaLdm, film: Path, multiple: int) -> list[Lesson]:
    """Of each stretch latents [8, T, 16] of the sound, levelled as AudioLDM's were, and features [S, D] of the picture.

    T is a whole number of `multiple`; latents are the posterior's mean.
    """
    from synchresis.media import probe
    from synchresis.systems.published import need_picture

    clip = probe(film)
    need_picture(clip)
    features = torch.from_numpy(system.encoder.look(clip, None).values)
    lessons = []
    for span, latents in coded_stretches(system.codec, clip, multiple, LATENTS):
        rate = system.encoder.rate
        first = min(math.ceil(span.start * rate), len(features) - 1)
        lessons.append({"latents": latents, "features": features[first : max(math.ceil(span.end * rate), first + 1)]})
    return lessons


def coded_stretches(codec: Any, clip: Clip, multiple: int, longest: int) -> Iterator[tuple[Any, Tensor]]:
    """Each stretch of a film's sound, up to `longest` latents, with its latents [8, T, 16], T whole multiples.

    Silent stretches are left out: there is nothing in them to level. Raises BadInputError for a film without sound,
    silent or too short.
    """
    from synchresis.codecs.audioldm import HOP, RATE, fitted, levelled, log_mel
    from synchresis.media import read_sound

    if not clip.audio:
        raise BadInputError("it has no sound")
    cell = Fraction(HOP * codec.fold * multiple, RATE)  # seconds
    spans = stretches(clip.duration, longest // multiple * cell, cell)
    heard = 0
    device = codec.scale_factor.device
    for span in spans:
        latents = int(span.duration // cell) * multiple
        samples = latents * HOP * codec.fold
        sound = read_sound(clip, rate=RATE, mono=True, span=span).values[:samples]
        if abs(sound).max(initial=0.0) < 1e-4:
            continue
        heard += 1
        wave = torch.from_numpy(levelled(sound, samples).astype("float32"))[None].to(device)
        with torch.no_grad():
            mel = fitted(log_mel(wave), latents * codec.fold)
            yield span, codec.eval().latents(mel[:, None], None)[0].cpu()
    if not heard:
        raise BadInputError("it is silent")


@torch.no_grad()
def told_of(system: VtaLdm, latents: Tensor, features: Tensor, prompt: str) -> Clipped:
    """A stretch as the system is told it: words, as often as pictures, before the pictures; or positions in them."""
    rate = system.encoder.rate
    if system.text is not None and prompt:
        words = system.text([prompt]).cpu().expand(len(features), -1)
        return Clipped(latents, torch.cat([words, features]), len(words), rate)
    if system.positions:
        from synchresis.encoders.video import positions

        features = features + positions(*features.shape)
    return Clipped(latents, features, 0, rate)


def collate(items: Sequence[Clipped], latent_rate: int) -> Batch:
    """Stretches as one batch, all cut to the shortest: latents, and the pictures that begin in them."""
    cells = min(item.latents.shape[1] for item in items)
    told = []
    for item in items:
        pictures = max(1, math.ceil(Fraction(cells, latent_rate) * item.rate))
        told.append(item.told[: item.words + pictures])
    features = nn.utils.rnn.pad_sequence(told, batch_first=True)
    mask = torch.arange(features.shape[1]) < torch.tensor([[len(rows)] for rows in told])
    return Batch(torch.stack([item.latents[:, :cells] for item in items]), features, mask)
