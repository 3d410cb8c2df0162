"""Training of Stable-Foley's control branch beside the frozen base.

    items = [Item(*sound_latents(codec, sound, draw), cross, global_cond) for ...]
    train_control(net, items, no_control(codec, length), steps=..., batch=48)

v-objective at logit-normal times. The tokens of picture and sound are left out with probability 0.1 per item, in both
networks together; the envelope is replaced by the latents of a constant -1 with probability 0.2 per item. Only the
branch learns, its own Fourier features of time among the rest. Source: Stable-Foley spec sections 2, 3, 6 and 7.

Where the published training differs from what was meant, this is what was meant: the control is dropped per item, not
per batch; networks that are frozen stay in `eval`, so that CAVP's statistics do not drift; silence is refused instead
of becoming NaN; the weights are averaged over the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.guidance import drop
from synchresis.diffusion.objectives import V, masked_mse, training_times
from synchresis.errors import BadInputError
from synchresis.nn.control import ControlledDiT
from synchresis.nn.oobleck import Oobleck
from synchresis.timeline.rms_codes import BOX_WINDOW, RMS_WINDOW, envelope_of
from synchresis.training.course import Course, begun, lessons_of, opened, output_for
from synchresis.training.films import Film, Lesson, lessons_folder, stretches
from synchresis.training.loop import Saving, train

if TYPE_CHECKING:
    from synchresis.systems.stable_foley import StableFoley

CROSS_DROP, CONTROL_DROP = 0.1, 0.2
NO_CONTROL = -1.0  # the constant waveform that stands for "no control"


@dataclass(frozen=True)
class Item:
    """A stretch of sound with what the networks are told of it.

    latents and envelope [C, T]; cross [S, D] tokens of the picture, then one of the sound; global_cond [G].
    """

    latents: Tensor
    envelope: Tensor
    cross: Tensor
    global_cond: Tensor


@torch.no_grad()
def sound_latents(
    codec: Oobleck, sound: np.ndarray, draw: torch.Generator, rms_window: int = RMS_WINDOW, box: int = BOX_WINDOW
) -> tuple[Tensor, Tensor]:
    """Latents of a mono sound [N] at a peak of 1 and of its envelope, each [C, N // ratio].

    The sound's are drawn, as its sign is; the envelope's are their mean. Raises ValueError for silence, for values that
    are no numbers, and for less than a latent.
    """
    peak = float(np.abs(sound).max(initial=0.0))
    if not np.isfinite(peak) or peak < 1e-4 or len(sound) < codec.config.ratio:
        raise ValueError("a sound to learn from is silent, shorter than a latent, or holds values that are no numbers")
    sign = 1.0 if torch.rand((), generator=draw) < 0.5 else -1.0
    wave = sound.astype(np.float64) * (sign / peak)
    envelope = envelope_of(wave, rms_window, box)
    device = next(codec.parameters()).device
    both = torch.from_numpy(np.stack([wave, envelope]).astype(np.float32)).to(device)
    mean, std = (x.cpu() for x in codec.encode(both[:, None].expand(-1, codec.config.audio_channels, -1)))
    noise = torch.randn(mean[0].shape, generator=draw)
    return codec.sample(mean[0], std[0], noise), mean[1]


@torch.no_grad()
def no_control(codec: Oobleck, length: int) -> Tensor:
    """The latents [C, length] of the waveform that stands for no control."""
    wave = torch.full((1, codec.config.audio_channels, length * codec.config.ratio), NO_CONTROL)
    return codec.encode(wave.to(next(codec.parameters()).device))[0][0].cpu()


def freeze_base(net: ControlledDiT) -> None:
    """Leaves only the control branch to learn: the base, and the branch's map that nothing uses, stay."""
    net.model.requires_grad_(False)
    net.model.eval()
    net.controlnet.requires_grad_(True)
    net.controlnet.transformer.project_out.requires_grad_(False)


def cut_to_shortest(items: Sequence[Item]) -> list[Item]:
    """The beginnings of the items: as many latents, and tokens of pictures, as the shortest has of each."""
    length = min(item.latents.shape[1] for item in items)
    pictures = min(len(item.cross) for item in items) - 1
    return [
        replace(
            item,
            latents=item.latents[:, :length],
            envelope=item.envelope[:, :length],
            cross=torch.cat([item.cross[:pictures], item.cross[-1:]]),
        )
        for item in items
    ]


def loss_of(
    net: ControlledDiT,
    items: Sequence[Item],
    absent: Tensor,
    draw: torch.Generator,
    *,
    cross_drop: float = CROSS_DROP,
    control_drop: float = CONTROL_DROP,
) -> Tensor:
    """One training step's loss over a batch of items, all cut to the shortest.

    `absent` [C, T] is what `no_control` gives, as long as the longest or longer.
    """
    device = next(net.parameters()).device
    items = cut_to_shortest(items)
    absent = absent[:, : items[0].latents.shape[1]]
    latents = torch.stack([item.latents for item in items])
    envelope = torch.stack([item.envelope for item in items])
    cross = drop(torch.stack([item.cross for item in items]), cross_drop, draw)
    kept = torch.rand(len(items), generator=draw) >= control_drop
    envelope = torch.where(kept[:, None, None], envelope, absent.expand_as(envelope))
    global_cond = torch.stack([item.global_cond for item in items])
    t = training_times(len(items), draw, "logit_normal")
    noise = torch.randn(latents.shape, generator=draw)
    prediction = net(
        V.noised(latents, noise, t).to(device),
        t.to(device),
        cross=cross.to(device),
        global_cond=global_cond.to(device),
        control=envelope.to(device),
    )
    return masked_mse(prediction, V.target(latents, noise, t).to(device))


def train_control(
    net: ControlledDiT,
    items: Sequence[Item],
    absent: Tensor,
    *,
    steps: int,
    batch: int,
    seed: int = 0,
    peak: float = 1e-4,
    cross_drop: float = CROSS_DROP,
    control_drop: float = CONTROL_DROP,
    report: Callable[[int, float], None] | None = None,
    saving: Saving | None = None,
) -> ControlledDiT:
    """Trains the branch of `net` in place, its averaged weights at the end, and returns it in `eval`.

    Raises ValueError for no items, FloatingPointError for a loss that is not finite.
    """
    if not items:
        raise ValueError("no sounds to learn from")
    freeze_base(net)
    draw = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[object]:
        while True:
            yield [items[i] for i in torch.randint(len(items), (batch,), generator=draw).tolist()]

    def loss(chosen: object) -> Tensor:
        drops = {"cross_drop": cross_drop, "control_drop": control_drop}
        return loss_of(net, chosen, absent, draw, **drops)  # type: ignore[arg-type]

    weights = train(
        net.controlnet, batches(), loss, steps=steps, peak=peak, weight_decay=1e-3, report=report, saving=saving
    )
    net.controlnet.load_state_dict(weights)
    return net.eval()


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
    """Stable-Foley's control branch trained on films (`training.films`), written to `out`; all else stays.

    `init` is Stable Audio Open's file, Stable-Foley's checkpoint, or a folder of ours. Raises BadInputError for films,
    weights or an `out` that cannot be used.
    """
    from synchresis.systems.stable_foley import BRANCH_ALONE, StableFoley

    listed = opened(out, films)
    loaded = begun("stable_foley", size, init, parts, ("denoiser",), course.seed)
    system = StableFoley(loaded, course.device)
    if init is None:
        system.denoiser.start_from_base()

    def read(film: Film) -> list[Lesson]:
        return [dict(vars(item)) for item in read_film(system, film.path)]

    with lessons_folder(course.cache) as folder:
        frozen = sorted(loaded.components.keys() & {"codec", "control_codec", "conditioner", "cavp", "clap"})
        lessons = lessons_of(
            loaded, frozen, listed, read, lambda _, lesson: Item(**lesson), course, folder, kind="control"
        )
        if loaded.untrained == BRANCH_ALONE:
            loaded.untrained = None  # the branch is trained now; the projections are random in the published one too
        output = output_for(loaded, out, ("denoiser",), course, lessons, init)
        train_control(
            system.denoiser, lessons, no_control(system.control_codec, system.config["window"]), steps=course.steps,
            batch=course.batch, seed=course.seed, peak=course.rate, report=course.reported, saving=output.saving,
        )  # fmt: skip
    return output.finish()


@torch.no_grad()
def read_film(system: StableFoley, film: Path) -> list[Item]:
    """What each stretch of a film teaches, up to the system's window; CLAP hears the stretch's own sound.

    Signs and latents are drawn by the number of the stretch, so a film always teaches the same. Silent stretches are
    left out. Raises BadInputError for a film without picture or sound, or one that is silent or under a second.
    """
    from synchresis.encoders import cavp, clap
    from synchresis.media import probe, read_sound
    from synchresis.systems.published import need_picture
    from synchresis.systems.stable_foley import SECONDS

    clip, config = probe(film), system.config
    need_picture(clip)
    if not clip.audio:
        raise BadInputError("it has no sound")
    spans = stretches(clip.duration, config["window"] / system.latent_rate, 1 / system.latent_rate)
    looks, filters, quirks = config["frames"], config["envelope"], config["quirks"]
    sight = torch.from_numpy(cavp.frame_features(system.cavp, clip, looks["rate"], looks["side"]).values)
    items = []
    for number, span in enumerate(spans):
        sound = read_sound(clip, rate=system.rate, mono=True, span=span).values
        if np.abs(sound).max(initial=0.0) < 1e-4:
            continue
        draw = torch.Generator().manual_seed(number)
        latents, envelope = sound_latents(system.codec, sound, draw, filters["rms_window"], filters["box_window"])
        if system.control_codec is not system.codec:
            again = torch.Generator().manual_seed(number)
            envelope = sound_latents(
                system.control_codec, sound, again, filters["rms_window"], filters["box_window"]
            )[1]
        heard = read_sound(clip, rate=quirks["clap_rate"], mono=True, span=span).values
        loudest = clap.loudest(torch.from_numpy(heard / np.abs(heard).max())[None])
        first = min(math.ceil(span.start * looks["rate"]), len(sight) - 1)
        pictures = max(1, math.ceil(Fraction(latents.shape[1]) / system.latent_rate * looks["rate"]))
        seconds = SECONDS if quirks["seconds_constant"] else (float(span.start), float(clip.duration))
        told = system.conditioner(
            sight[None, first : first + pictures].to(system.device),
            clap.embed_sound(system.clap, loudest, "fusion" if quirks["clap_mel"] == "htk" else "clap"),
            *(torch.tensor([value], device=system.device) for value in seconds),
        )
        items.append(Item(latents, envelope, told["cross"][0].cpu(), told["global_cond"][0].cpu()))
    if not items:
        raise BadInputError("it is silent")
    return items
