"""pocket's other direction: a small film for a sound, offline, from weights that travel in the package.

A painter paints the scene once, as layers: a background and up to seven bodies. A mover then gives every body a pose at
every frame, told by the tokens of the sound through TempoTokens' mapper, in windows that begin with the last poses of
the window before. Frames are the layers in their poses. So a film keeps its scene over any length, it is as
sharp at the thousandth second as at the first, and nothing grows with it.

It knows the scenes of the stage and no others: tools that strike, drums, bells, clocks, balls. Weights:
`pocket_weights/`, with a model card. Trained by `synchresis train pocket --part picture`. Figures: docs/pocket.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from synchresis.codecs import mel
from synchresis.codecs.layers import SIDE, SPREAD, compose
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import normal
from synchresis.diffusion.objectives import FLOW
from synchresis.diffusion.samplers import euler, linear_times
from synchresis.encoders.listener import RATE as TOKEN_RATE
from synchresis.encoders.listener import SAMPLES, heard_blocks, levels, loud_level, tokens
from synchresis.errors import BadInputError
from synchresis.media import Clip, stream_sound
from synchresis.nn.layer_vae import LayerVAE, LayerVAEConfig
from synchresis.nn.mover import SHAPE_SIDE, Mover, MoverConfig
from synchresis.nn.painter import KINDS, Painter, PainterConfig, late, unfold
from synchresis.systems.devices import pick_device
from synchresis.systems.packaged import pocket_folder
from synchresis.systems.picturing import PictureRequest, frame_count, probe_sound
from synchresis.systems.published import picture_sound
from synchresis.systems.request import Progress, quiet, settings_of
from synchresis.timeline.files import read_onsets
from synchresis.timeline.onsets import OnsetDetector, Onsets
from synchresis.timeline.time import sample_count

STEPS = 16                    # Euler steps of the mover
SCENE_STEPS = 50              # of the painter, which runs once
GUIDANCE = 1.5                # weight of what is heard on the motion
SCENE_GUIDANCE = 2.0          # and on the scene
SCENE_WINDOW = 128            # tokens that the painter hears: 5.12 s, from half a second before the first onset
WINDOW, KNOWN, AHEAD = 96, 16, 16  # frames of a window; those already made; those made again by the next one
PIECE = 25                    # frames composed at once
LARGEST = 512                 # pixels: more would only be blur
LOUD_SECONDS = 5              # over which it is settled what is loud
SCENE_NOISE = 1 << 40         # the painter's noise stream, out of the way of the mover's
BEFORE = 1 << 30              # where the mover's noise of the first onset lies

PARTS = ("layers", "painter", "mover")


@dataclass(frozen=True)
class Settings:
    """What pocket can be told about its pictures, beside the options that all systems share."""

    scene: str = field(
        default="heard",
        metadata={"help": "What `picture` paints: what it hears, or a kind.", "choices": ("heard", *KINDS)},
    )


@dataclass(frozen=True)
class PocketPicturePlan:
    """What was decided before any picture is made (see `synchresis.systems.picturing.PicturePlan`).

    `loud` is the level of the sound's loud parts, on the scale of the listener.
    """

    mode: str
    sound: Clip
    duration: Fraction
    fps: Fraction
    width: int
    height: int
    onsets: Onsets
    loud: float
    seed: int
    steps: int
    guidance: float
    scene: str
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The token of the first onset: scene and noise belong to it, so that a sound that comes later by whole frames
        is a film that comes later."""
        return math.floor(float(self.onsets.times[0]) * TOKEN_RATE) if len(self.onsets) else 0


class PocketPicture:
    """Pictures for a sound, offline. Load with `synchresis.systems.picturing.load_picture("pocket")`."""

    name = "pocket"
    untrained: str | None = None
    key_report: str | None = None

    def __init__(self, layers: LayerVAE, painter: Painter, mover: Mover, weights_hash: str, device: str) -> None:
        self.layers = layers.eval().to(device)
        self.painter = painter.eval().to(device)
        self.mover = mover.eval().to(device)
        self.weights_hash = weights_hash
        self.device = device

    @classmethod
    def load(cls, weights: str | Path | None = None, device: str = "auto") -> PocketPicture:
        """From the package, from a folder made by `synchresis train pocket`, or from the hub.

        Raises BadInputError when the folder does not hold these networks, or others than these.
        """
        folder = pocket_folder(weights, PARTS)
        try:
            layers = LayerVAE(LayerVAEConfig(**folder.described["layers"]))
            painter = Painter(PainterConfig(**folder.described["painter"]))
            mover = Mover(MoverConfig(**folder.described["mover"]))
            for part, network in zip(PARTS, (layers, painter, mover), strict=True):
                folder.fill(part, network)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BadInputError(f"the weights in {folder.place} do not fit pocket's networks: {error}") from error
        return cls(layers, painter, mover, folder.digest, pick_device(device))

    picture = picture_sound

    # Listening

    def prepare(self, sound: Path, request: PictureRequest, progress: Progress = quiet) -> PocketPicturePlan:
        """Listens once: to the onsets, and to what is loud in this sound. Serves no words, film and LoRA."""
        clip = probe_sound(sound)
        request.serve_only(self.name, "width", "height", "fps", "frames", "onsets", "steps", "guidance")
        settings = settings_of(Settings, request.settings, self.name)
        fps = request.rate(clip.duration, Fraction(TOKEN_RATE))
        width, height = request.width or request.height or SIDE, request.height or request.width or SIDE
        if max(width, height) > LARGEST or width > SPREAD * height:
            raise BadInputError(
                f"--width {width} --height {height}: pocket paints up to {LARGEST} pixels, and a picture no wider than "
                f"{SPREAD:g} times its height"
            )
        onsets, loud = _listen(clip, progress)
        if request.onsets is not None:
            onsets = read_onsets(request.onsets).within(clip.span)
        notes = ["pocket paints one of the simple scenes it knows, in time with the sound: not what was recorded"]
        if not len(onsets):
            notes.append("there is no separate onset: the picture follows the loudness alone")
        return PocketPicturePlan(
            mode="sound" if request.onsets is None else "onsets",
            sound=clip,
            duration=clip.duration,
            fps=fps,
            width=width,
            height=height,
            onsets=onsets,
            loud=loud,
            seed=request.seed,
            steps=STEPS if request.steps is None else request.steps,
            guidance=GUIDANCE if request.guidance is None else request.guidance,
            scene=settings.scene,
            notes=notes,
        )

    # Picturing

    @torch.no_grad()
    def pictures(self, plan: PocketPicturePlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The frames of a plan, uint8 [height, width, 3], each made when it is asked for."""
        progress("paint", 0.0)
        layers = self.paint(plan)
        progress("paint", 1.0)
        total = frame_count(plan.duration, plan.fps)
        made = 0
        for poses in _at_rate(self.poses(plan, layers), plan.fps, total):
            for piece in poses.split(PIECE):
                frames = compose(layers, piece.to(self.device), (plan.height, plan.width))
                for frame in (frames * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
                    yield np.ascontiguousarray(frame)
                made += len(piece)
                progress("picture", made / total)

    @torch.no_grad()
    def paint(self, plan: PocketPicturePlan) -> Tensor:
        """The layers of the scene, [1 + bodies, 4, SIDE, SIDE] premultiplied in 0..1."""
        net = self.painter
        unheard = net.unheard[None]
        heard = self._scene_heard(plan) if plan.scene == "heard" else net.typical[KINDS.index(plan.scene)][None]
        network = guided(net, {"pooled": unheard}, [Branch({"pooled": heard}, SCENE_GUIDANCE)], objective=FLOW)
        noise = normal(plan.seed, net.config.channels, 0, net.config.positions, stream=SCENE_NOISE)
        times = late(torch.tensor(linear_times(SCENE_STEPS))).tolist()
        scene = euler(network, torch.from_numpy(noise)[None].to(self.device), times)
        latents = unfold(scene, net.config)[0] * self.layers.latent_std + self.layers.latent_mean
        layers = self.layers.decode(latents).clamp(0.0, 1.0)
        layers[0, 3] = 1.0
        return cleaned(layers)

    def _scene_heard(self, plan: PocketPicturePlan) -> Tensor:
        """What the painter hears in the five seconds around the first onset, [1, heard]."""
        begin = plan.first - TOKEN_RATE // 2
        stream = _Windows(self._tokens(plan, begin + SCENE_WINDOW, min(begin, 0)), min(begin, 0))
        return self.painter.listen(stream.window(begin, SCENE_WINDOW)[None].to(self.device))

    @torch.no_grad()
    def poses(self, plan: PocketPicturePlan, layers: Tensor) -> Iterator[Tensor]:
        """Poses [n, bodies, POSE] at 25 frames a second, stretch by stretch, as long as somebody asks."""
        net = self.mover
        bodies = net.config.bodies
        coverage = layers[1:, 3]
        shapes = F.interpolate(torch.cat([coverage, layers[0, :3]])[None], size=(SHAPE_SIDE,) * 2, mode="area")
        known = torch.zeros(1, net.config.channels, 0, device=self.device)
        scale = net.pose_std.repeat(bodies)[:, None]
        done, needed = 0, _poses_needed(plan)
        # Where a person says when to strike, what sounds at other times must not strike too.
        heard = _Windows(self._tokens(plan, needed + WINDOW, even=plan.mode == "onsets"))
        while done < needed:
            first = done - known.shape[-1]
            given = F.pad(known, (0, WINDOW - known.shape[-1]))
            is_known = (torch.arange(WINDOW, device=self.device) < known.shape[-1]).float()[None]
            sound = heard.window(first, WINDOW)[None].to(self.device)
            local, pooled = net.listen(sound)
            none, nothing = net.listen(sound, torch.ones(1, dtype=torch.bool, device=self.device))
            base = {"shapes": shapes, "known": given, "is_known": is_known}
            network = guided(
                net, {**base, "local": none, "pooled": nothing},
                [Branch({**base, "local": local, "pooled": pooled}, plan.guidance)], objective=FLOW,
            )  # fmt: skip
            place = BEFORE + first - plan.first
            noise = normal(plan.seed, net.config.channels, place, place + WINDOW)
            x = euler(network, torch.from_numpy(noise)[None].to(self.device), linear_times(plan.steps))
            made = x[..., known.shape[-1] : WINDOW - AHEAD]
            known = made[..., -KNOWN:]
            done += made.shape[-1]
            yield (made * scale)[0].T.unflatten(1, (bodies, -1)).cpu()

    def _tokens(self, plan: PocketPicturePlan, stop: int, first: int = 0, even: bool = False) -> Iterator[Tensor]:
        """The tokens first..stop of the sound, first at most 0, in pieces [n, FEATURES]; silence before and after it.

        `even` ones are told their onsets, and are of a sound that goes on and on with the mean of the piece's spectrum.
        """
        silence = np.zeros(-first * SAMPLES, np.float32)
        for piece in heard_blocks(chain([silence], _samples(plan.sound)), stop - first):
            yield tokens(piece.mean(0).expand_as(piece) if even else piece, plan.loud, plan.onsets, first)
            first += len(piece)


def cleaned(layers: Tensor) -> Tensor:
    """Layers with firm edges, and without the faint fog that a decoder leaves where there is nothing.

    What is covered by less than a quarter is not, by more than three quarters wholly; colours stay what they are.
    """
    coverage = ((layers[:, 3:] - 0.25) * 2).clamp(0.0, 1.0)
    colours = (layers[:, :3] / layers[:, 3:].clamp_min(0.25)).clamp(0.0, 1.0)
    return torch.cat([colours * coverage, coverage], dim=1)


def _samples(clip: Clip) -> Iterator[np.ndarray]:
    """The sound of a clip at the listener's rate, mono, in blocks [n]."""
    for block in stream_sound(clip, mel.RATE, mono=True, span=clip.span):
        yield block[:, 0]


def _listen(clip: Clip, progress: Progress) -> tuple[Onsets, float]:
    """Onsets of a sound, and what is loud in it: the 95th percentile of its levels in the loudest five seconds.

    A shorter sound counts as one with silence around it, so that more of that changes nothing.
    """
    detector = OnsetDetector(mel.RATE)
    recent: deque[Tensor] = deque(maxlen=LOUD_SECONDS)
    total, heard, loud = sample_count(clip.duration, mel.RATE), 0, -math.inf
    least = LOUD_SECONDS * mel.RATE // mel.HOP
    for samples in _samples(clip):
        detector.push(samples)
        whole = np.pad(samples, (0, -len(samples) % mel.HOP))
        recent.append(levels(torch.from_numpy(whole)[None])[0])
        heard += len(samples)
        if len(recent) == LOUD_SECONDS or heard == total:
            cells = torch.cat(list(recent))
            cells = F.pad(cells, (0, max(0, least - len(cells))), value=float(levels(torch.zeros(1, mel.HOP))))
            loud = max(loud, loud_level(cells))
        progress("listen", heard / total)
    return detector.finish(), loud


class _Windows:
    """Windows of a stream of pieces [n, C], which only go forward: what lies before the last one is forgotten."""

    def __init__(self, pieces: Iterable[Tensor], first: int = 0) -> None:
        self.pieces = iter(pieces)
        self.held = next(self.pieces)
        self.begins = first

    def window(self, start: int, size: int) -> Tensor:
        """Positions start .. start + size of the stream, [size, C]."""
        while self.begins + len(self.held) < start + size:
            self._forget(start)
            self.held = torch.cat([self.held, next(self.pieces)])
        self._forget(start)
        return self.held[:size]

    def _forget(self, start: int) -> None:
        """What lies before `start`."""
        gone = min(start - self.begins, len(self.held))
        self.held, self.begins = self.held[gone:], self.begins + gone


def _poses_needed(plan: PocketPicturePlan) -> int:
    """Poses at 25 a second between which every frame of the film lies."""
    last = Fraction(frame_count(plan.duration, plan.fps) - 1) / plan.fps
    return math.floor(last * TOKEN_RATE) + 2


def _at_rate(stretches: Iterator[Tensor], fps: Fraction, total: int) -> Iterator[Tensor]:
    """Poses [n, K, POSE] at the instants of `total` frames: those at 25 a second, or straight between two of them."""
    held: Tensor | None = None
    begins, frame = 0, 0
    for stretch in stretches:
        held = stretch if held is None else torch.cat([held, stretch])
        here: list[tuple[int, float]] = []
        while frame < total:
            place = Fraction(frame) * TOKEN_RATE / fps
            left = math.floor(place)
            if left + 1 >= begins + len(held):
                break
            here.append((left - begins, float(place - left)))
            frame += 1
        if here:
            left_of = torch.tensor([k for k, _ in here])
            share = torch.tensor([s for _, s in here])[:, None, None]
            yield torch.lerp(held[left_of], held[left_of + 1], share)
        if frame == total:
            return
        keep = max(0, len(held) - 2)
        held, begins = held[keep:], begins + keep
