"""Training of pocket's pictures: the layers' codec, the painter of scenes, and the mover of bodies, on the stage.

A lesson is a clean film of the stage taken apart (`synchresis.data.stage.apart`), the tokens of its sound as the
listener hears them, with onsets found in the sound and not those of the stage, and the poses of its bodies. Painter
and mover are rectified flows; both are deaf at times, so that hearing can be guided (Ho and Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.codecs.layers import SIDE, SPREAD, anchors, poses_of
from synchresis.diffusion.objectives import FLOW, training_times
from synchresis.encoders.listener import RATE, SAMPLES, heard, levels, loud_level, tokens
from synchresis.nn.layer_vae import CHANNELS, LayerVAE, LayerVAEConfig
from synchresis.nn.mover import POSE, SHAPE_SIDE, Mover, MoverConfig
from synchresis.nn.painter import KINDS, Painter, PainterConfig, fold, late
from synchresis.training.loop import train

if TYPE_CHECKING:
    from synchresis.data.recordings import Recording

# Recordings that may sound in the place of a kind, by the beginnings of their labels.
REAL = {
    "drum": ("drum_tom", "drum_bass", "drum_snare", "drum_heavy", "bd", "tabla"),
    "wood": ("elec_wood", "perc_door", "perc_impact"),
    "metal": ("drum_cowbell", "drum_cymbal", "drum_splash", "hat"),
    "bell": ("perc_bell",),
    "clock": ("clock_tick",),
}
BODIES = 7
FRAMES = 128                  # of a lesson: 5.12 s
CROP = 64                     # pixels of a layer that the codec learns from at once
LAYER_BATCH, SCENE_BATCH, MOTION_BATCH = 64, 64, 32
WINDOW, KNOWN = 96, 16        # frames of the mover, and those that it may be given
MIRROR = (-1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0)  # what becomes of a pose when the picture is mirrored

Report = Callable[[int, float], None]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A film as it is learned from.

    kind: one of KINDS. layers: uint8 [1 + K, SIDE, SIDE, 4]. tokens: [FRAMES, FEATURES]. poses: [FRAMES, 7 * POSE],
    zero past the K bodies, which are not shown. shapes: uint8 [BODIES + 3, 32, 32], the coverage of the bodies and the
    colours of the background, as the mover sees them.
    """

    kind: str
    layers: np.ndarray
    tokens: Tensor
    poses: Tensor
    shapes: Tensor

    @property
    def bodies(self) -> int:
        return len(self.layers) - 1


# What is learned from


def lesson(seed: int, kind: str, recordings: Sequence[Recording] = ()) -> Lesson | None:
    """The lesson of a seed; None where the film cannot be told apart into BODIES bodies."""
    from synchresis.data.stage import film
    from synchresis.data.stage.apart import apart
    from synchresis.timeline.onsets import detect_onsets

    rng = np.random.default_rng([99, seed])
    made = film(seed, size=(96, 96), seconds=FRAMES / RATE, ugly=False, kinds=[kind])
    real = tuple(r for r in recordings if kind in REAL and r.label.startswith(REAL[kind]))
    made = replace(made, recordings=real, reverberant=bool(rng.random() < 0.4))
    taken = apart(made, BODIES, SIDE, SPREAD)
    if taken is None:
        return None
    hiss = 10 ** (rng.uniform(-75, -40) / 20)
    samples = made.sound.values + hiss * rng.standard_normal(len(made.sound.values)).astype(np.float32)
    onsets = detect_onsets(replace(made.sound, values=samples))
    whole = np.zeros(FRAMES * SAMPLES, np.float32)
    whole[: len(samples)] = samples[: len(whole)]
    sound = torch.from_numpy(whole)[None]
    spectral = heard(sound)[0]
    return Lesson(
        kind,
        taken.layers,
        tokens(spectral, loud_level(levels(sound)), onsets),
        *_posed(taken.layers, taken.motions[:FRAMES], taken.shown[:FRAMES]),
    )


def _posed(layers: np.ndarray, motions: np.ndarray, shown: np.ndarray) -> tuple[Tensor, Tensor]:
    """Poses and shapes of a lesson."""
    bodies = len(layers) - 1
    pictures = torch.from_numpy(layers).permute(0, 3, 1, 2).float()
    small = F.interpolate(pictures, size=(SHAPE_SIDE, SHAPE_SIDE), mode="area").round().byte()
    shapes = torch.zeros(BODIES + 3, SHAPE_SIDE, SHAPE_SIDE, dtype=torch.uint8)
    shapes[:bodies], shapes[BODIES:] = small[1:, 3], small[0, :3]
    middle, radius = anchors(shapes[:bodies] / 255)
    poses = torch.zeros(FRAMES, BODIES, POSE)
    poses[:, :, 6] = -1.0
    poses[:, :bodies] = poses_of(torch.from_numpy(motions), torch.from_numpy(shown).float(), middle, radius)
    return poses.flatten(1), shapes


def build_lessons(count: int, seed: int, recordings: Sequence[Recording] = (), workers: int = 1) -> list[Lesson]:
    """`count` lessons or a few less, all kinds alike; the same for any number of workers."""
    seeds = [10_000_000 * (seed + 1) + i for i in range(count)]
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    if workers == 1:
        made = list(map(partial(lesson, recordings=recordings), seeds, kinds))
    else:
        with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            made = list(pool.map(partial(lesson, recordings=recordings), seeds, kinds, chunksize=16))
    return [one for one in made if one is not None]


# The layers' codec


def train_layers(lessons: Sequence[Lesson], steps: int, seed: int, report: Report | None = None) -> LayerVAE:
    """Absolute error, twice that of its differences between neighbours, and a trace of the prior."""
    torch.manual_seed(seed)
    net = LayerVAE(LayerVAEConfig())
    draw = torch.Generator().manual_seed(seed + 1)

    def loss_of(crops: object) -> Tensor:
        assert isinstance(crops, Tensor)
        mean, log_variance = net.encode(crops)
        noise = torch.randn(mean.shape, generator=draw)
        wrong = net.decode(mean + noise * (0.5 * log_variance).exp()) - crops
        coverage = crops[:, 3:]
        weight = 1 + 4 * ((coverage > 0.02) & (coverage.mean((2, 3), keepdim=True) < 0.9))
        edges = wrong.diff(dim=-1).abs().mean() + wrong.diff(dim=-2).abs().mean()
        prior = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()
        return (wrong.abs() * weight).mean() + 2 * edges + 3e-5 * prior

    crops = _crops(lessons, np.random.default_rng([seed, 2]))
    net.load_state_dict(train(net, crops, loss_of, steps=steps, peak=2e-3, decay=0.998, report=report))
    latents = torch.cat([_latents(net, one) for one in lessons[:: max(1, len(lessons) // 400)]])
    net.latent_mean.copy_(latents.mean((0, 2, 3))[:, None, None])
    net.latent_std.copy_(latents.std((0, 2, 3))[:, None, None])
    return net.eval()


def _crops(lessons: Sequence[Lesson], rng: np.random.Generator) -> Iterator[Tensor]:
    """Crops [LAYER_BATCH, 4, CROP, CROP] in 0..1 of layers, around a pixel of the body that they show."""
    while True:
        crops = []
        for number in rng.integers(len(lessons), size=LAYER_BATCH):
            layers = lessons[number].layers
            body = len(layers) > 1 and rng.random() >= 0.3
            layer = layers[rng.integers(1, len(layers))] if body else layers[0]
            rows, columns = np.nonzero(layer[..., 3])
            pixel = rng.integers(max(len(rows), 1))
            around = (rows[pixel], columns[pixel]) if len(rows) else (0, 0)
            y, x = (int(np.clip(place - rng.integers(8, CROP - 8), 0, SIDE - CROP)) for place in around)
            crop = layer[y : y + CROP, x : x + CROP]
            crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        yield torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _latents(net: LayerVAE, one: Lesson, mirrored: bool = False) -> Tensor:
    """Means [1 + K, latent, 16, 16] of a lesson's layers."""
    layers = torch.from_numpy(one.layers).permute(0, 3, 1, 2).float() / 255
    return net.encode(layers.flip(3) if mirrored else layers)[0]


# The painter


def train_painter(
    lessons: Sequence[Lesson], vae: LayerVAE, steps: int, seed: int, report: Report | None = None
) -> Painter:
    """The velocity error of all layers at once; a layer that is empty counts a fifth.

    Scenes are learned long before it matters to the error what is heard, so the pooled token must also tell the kinds
    apart, by a classifier that is forgotten afterwards.
    """
    torch.manual_seed(seed)
    net = Painter(PainterConfig(layers=1 + BODIES, latent=vae.config.latent))
    net.add_module("judge", nn.Sequential(nn.LayerNorm(net.config.heard), nn.Linear(net.config.heard, len(KINDS))))
    draw = torch.Generator().manual_seed(seed + 1)
    scenes = torch.stack([_scene(vae, one, mirrored=bool(i % 2)) for i, one in enumerate(lessons)])
    sounds = torch.stack([one.tokens for one in lessons])
    bodies = torch.tensor([one.bodies for one in lessons])
    kinds = torch.tensor([KINDS.index(one.kind) for one in lessons])

    def batches() -> Iterator[tuple[Tensor, ...]]:
        while True:
            rows = torch.randint(len(lessons), (SCENE_BATCH,), generator=draw)
            yield fold(scenes[rows].float()), sounds[rows], bodies[rows], kinds[rows]

    def loss_of(batch: object) -> Tensor:
        assert isinstance(batch, tuple)
        clean, sound, count, kind = batch
        deaf = torch.rand(SCENE_BATCH, generator=draw) < 0.1
        t = late(training_times(SCENE_BATCH, draw, "logit_normal"))
        noise = torch.randn(clean.shape, generator=draw)
        heard = net.listen(sound)
        pooled = torch.where(deaf[:, None], net.unheard, heard)
        velocity = net(FLOW.noised(clean, noise, t), t, net.prepare(pooled))
        there = (torch.arange(1 + BODIES) <= count[:, None]) * 0.8 + 0.2
        weight = there.repeat_interleave(net.config.channels // (1 + BODIES), dim=1)[..., None]
        told_apart = F.cross_entropy(net.get_submodule("judge")(heard), kind)
        return _weighted(velocity - FLOW.target(clean, noise, t), weight) + 0.2 * told_apart

    net.load_state_dict(train(net, batches(), loss_of, steps=steps, peak=1.5e-3, report=report))
    del net.judge
    net.eval()
    with torch.no_grad():
        heard = torch.cat([net.listen(part) for part in sounds.split(SCENE_BATCH)])
        net.typical.copy_(torch.stack([heard[kinds == number].mean(0) for number in range(len(KINDS))]))
    return net


def _scene(vae: LayerVAE, one: Lesson, mirrored: bool) -> Tensor:
    """Normalised latents [1 + BODIES, latent, 16, 16] of a lesson, in half precision."""
    with torch.no_grad():
        nothing = vae.encode(torch.zeros(1, CHANNELS, SIDE, SIDE))[0]
    empty = nothing.expand(BODIES - one.bodies, -1, -1, -1)
    return ((torch.cat([_latents(vae, one, mirrored), empty]) - vae.latent_mean) / vae.latent_std).half()


# The mover


def train_mover(lessons: Sequence[Lesson], steps: int, seed: int, report: Report | None = None) -> Mover:
    """The velocity error of the poses that are not given; those of bodies that are not there count a little."""
    torch.manual_seed(seed)
    net = Mover(MoverConfig(bodies=BODIES))
    draw = torch.Generator().manual_seed(seed + 1)
    poses = torch.stack([one.poses for one in lessons])
    net.pose_std.copy_(_spread(poses, torch.tensor([one.bodies for one in lessons])))
    scale, mirror = net.pose_std.repeat(BODIES), torch.tensor(MIRROR).repeat(BODIES)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        while True:
            chosen = [lessons[i] for i in torch.randint(len(lessons), (MOTION_BATCH,), generator=draw).tolist()]
            firsts = torch.randint(FRAMES - WINDOW + 1, (MOTION_BATCH,), generator=draw).tolist()
            parts = [slice(first, first + WINDOW) for first in firsts]
            moved = torch.stack([one.poses[part] for one, part in zip(chosen, parts, strict=True)]) / scale
            shapes = torch.stack([one.shapes for one in chosen]) / 255
            turned = torch.rand(MOTION_BATCH, generator=draw) < 0.5
            moved = torch.where(turned[:, None, None], moved * mirror, moved).clamp(-8, 8).transpose(1, 2)
            shapes = torch.where(turned[:, None, None, None], shapes.flip(3), shapes)
            sound = torch.stack([one.tokens[part] for one, part in zip(chosen, parts, strict=True)])
            yield moved, shapes, sound, torch.tensor([one.bodies for one in chosen])

    def loss_of(batch: object) -> Tensor:
        assert isinstance(batch, tuple)
        clean, shapes, sound, count = batch
        deaf = torch.rand(MOTION_BATCH, generator=draw) < 0.08
        goes_on = torch.rand(MOTION_BATCH, generator=draw) < 0.6
        known = ((torch.arange(WINDOW) < KNOWN) & goes_on[:, None]).float()
        t = training_times(MOTION_BATCH, draw, "logit_normal")
        noise = torch.randn(clean.shape, generator=draw)
        local, pooled = net.listen(sound, deaf)
        velocity = net(FLOW.noised(clean, noise, t), t, net.prepare(local, pooled, shapes, clean, known))
        there = (torch.arange(BODIES) < count[:, None]) * 0.97 + 0.03
        weight = there.repeat_interleave(POSE, dim=1)[..., None] * (1 - known[:, None])
        return _weighted(velocity - FLOW.target(clean, noise, t), weight)

    net.load_state_dict(train(net, batches(), loss_of, steps=steps, peak=1.2e-3, report=report))
    return net.eval()


def _spread(poses: Tensor, bodies: Tensor) -> Tensor:
    """Standard deviations [POSE] over the bodies that are there: one for ways, one for turns, 1 for being shown."""
    there = torch.arange(BODIES) < bodies[:, None]
    std = poses.unflatten(2, (BODIES, POSE)).transpose(1, 2)[there].flatten(0, 1).std(0)
    return torch.cat([std[:2].mean().expand(2), std[2:6].mean().expand(4), torch.ones(1)])


def _weighted(error: Tensor, weight: Tensor) -> Tensor:
    weight = weight.expand_as(error)
    return (error.square() * weight).sum() / weight.sum()
