"""Training of TempoTokens' mapper against a frozen text-to-video base (TempoTokens spec section 6).

    system = load_picture("tempotokens", "learned_embeds.pth", parts=...)    # or an untrained one
    lessons = [lesson(system, path, prompt) for path in films]
    train_mapper(system, lessons, steps=1000)
    write_folder(system.loaded, Path("mine"))

The loss is that of the base, on its noise or v as its schedule says, plus 0.01 of the mean absolute value of what the
mapper makes. What the published script does and this does not: its sound and its pictures are of different stretches
of time (here both are of the same one, at the frame rate that the film will have); it decays biases (here matrices
alone are); it clips the frozen UNet's gradients (here the mapper's); it mixes up the rows of a batch with different
prompts (here frames of an item lie side by side); it takes the absolute value of <temp> alone (here of all six words).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.nn.mapper import Mapper
from synchresis.timeline import Span
from synchresis.training.loop import train

if TYPE_CHECKING:
    from synchresis.systems.tempotokens import Settings, TempoTokens
    from synchresis.systems.video_base import TextToVideoBase

ABSOLUTE = 0.01  # weight of the mean absolute value of the vectors


@dataclass(frozen=True)
class Lesson:
    """A stretch of a film: BEATs' tokens [1, N, D] in the mapper's order, latents [1, C, F, h, w], a prompt.

    `inside` [F] is 1 for frames that the film has, 0 for those behind its end, which are not learned from.
    """

    tokens: Tensor
    latents: Tensor
    inside: Tensor
    prompt: str


@torch.no_grad()
def lesson(
    system: TempoTokens, path: Path, prompt: str = "", start: Fraction = Fraction(0), settings: Settings | None = None
) -> Lesson:
    """What a stretch of a film from `start` (s) on teaches: its sound, and its pictures at the system's size and rate.

    The stretch and the order of tokens are those of `settings`. Raises BadInputError without sound or picture.
    """
    from synchresis.media import frames, probe, read_sound
    from synchresis.systems.tempotokens import FRAMES, Settings, monaural, spread_tokens

    settings = settings or Settings()
    settings.check()
    clip = probe(path)
    if clip.video is None or not clip.audio:
        raise BadInputError(f"{path}: to learn from it takes a picture and a sound")
    if not 0 <= start < clip.duration:
        raise BadInputError(f"{path} ends before {float(start):g} s")
    rate, width, height = Fraction(FRAMES, settings.stretch), system.config["width"], system.config["height"]
    times = [start + (i + Fraction(1, 2)) / rate for i in range(FRAMES)]
    seen = [min(time, clip.duration) for time in times]
    pictures = (picture for _, picture in frames(clip, times=seen, size=(height, width)))
    sound = read_sound(clip, span=Span(start, start + settings.stretch))
    tokens = system.hear(monaural(sound.values, int(sound.rate)).to(system.device))
    return Lesson(
        tokens=spread_tokens(tokens, settings.published_order),
        latents=system.base.encode(pictures, settings.vae_batch),
        inside=torch.tensor([float(time < clip.duration) for time in times], device=system.device),
        prompt=prompt,
    )


def loss_of(mapper: Mapper, base: TextToVideoBase, lessons: Sequence[Lesson], noise: Tensor, t: Tensor) -> Tensor:
    """The loss of a batch at timesteps t [B] with noise [B, C, F, h, w]; gradients reach the mapper alone."""
    from synchresis.systems.tempotokens import FRAMES, vectors_of

    states, made = [], []
    for item in lessons:
        vectors = vectors_of(mapper(item.tokens, FRAMES))
        prompt = f"{item.prompt} {' '.join(base.placeholders)}".strip()
        states.append(base.told(prompt, {word: vectors[:, i] for i, word in enumerate(base.placeholders)}))
        made.append(vectors)
    clean = torch.cat([item.latents for item in lessons])
    alpha = base.schedule.alphas.to(clean)[t][:, None, None, None, None]
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    target = noise if base.schedule.prediction == "epsilon" else signal * noise - spread * clean
    predicted = base.predict(signal * clean + spread * noise, t, torch.cat(states))
    inside = torch.stack([item.inside for item in lessons])[:, None, :, None, None].expand_as(clean)
    error = ((predicted - target) ** 2 * inside).sum() / inside.sum()
    return error + ABSOLUTE * torch.stack(made).abs().mean()


def train_mapper(
    system: TempoTokens,
    lessons: Sequence[Lesson],
    *,
    steps: int,
    peak: float = 1e-5,
    batch: int = 1,
    decay: float = 0.999,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Trains the mapper of `system` in place; everything else is frozen. The result is the average of the way's end.

    Raises ValueError for no lessons or lessons of different sizes, FloatingPointError for a loss that is no number.
    """
    if not lessons or len({item.latents.shape for item in lessons}) > 1:
        raise ValueError("lessons must be there and of one size")
    draw = torch.Generator().manual_seed(seed)
    shape = (batch, *lessons[0].latents.shape[1:])

    def batches() -> Iterator[tuple[list[Lesson], Tensor, Tensor]]:
        while True:
            chosen = torch.randint(len(lessons), (batch,), generator=draw).tolist()
            t = torch.randint(len(system.base.schedule.alphas), (batch,), generator=draw)
            yield [lessons[i] for i in chosen], torch.randn(shape, generator=draw), t

    def loss(drawn: object) -> Tensor:
        items, noise, t = cast("tuple[list[Lesson], Tensor, Tensor]", drawn)
        return loss_of(system.mapper, system.base, items, noise.to(system.device), t.to(system.device))

    frozen = [network for name, network in system.loaded.components.items() if name != "mapper"]
    for network in frozen:
        network.requires_grad_(False)
    try:
        trained = train(system.mapper, batches(), loss, steps=steps, peak=peak, decay=decay, report=report)
    finally:
        for network in frozen:
            network.requires_grad_(True)
        system.mapper.eval()
    system.mapper.load_state_dict(trained)
    system.loaded.__dict__.pop("digest", None)  # that of the weights before
