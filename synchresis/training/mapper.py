"""Training of TempoTokens' mapper against a frozen text-to-video base (TempoTokens spec section 6).

    system = load_picture("tempotokens", "learned_embeds.pth", parts=...)    # or an untrained one
    lessons = [item for path in films for item in read_film(system, path, prompt)]
    train_mapper(system, lessons, steps=1000)
    write_folder(system.loaded, Path("mine"))

`train_folder` goes from a list of films to a folder.

The loss is that of the base, on its noise or v as its schedule says, plus 0.01 of the mean absolute value of what the
mapper makes. What the published script does and this does not: its sound and its pictures are of different stretches
of time (here both are of the same one, at the frame rate that the film will have); it decays biases (here matrices
alone are); it clips the frozen UNet's gradients (here the mapper's); it mixes up the rows of a batch with different
prompts (here frames of an item lie side by side); it takes the absolute value of <temp> alone (here of all six words).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.nn.beats import BeatsConfig
from synchresis.nn.mapper import Mapper, MapperConfig
from synchresis.timeline import Span
from synchresis.training.course import Course, begun, lessons_of, on, opened, output_for
from synchresis.training.films import Film, lessons_folder, stretches
from synchresis.training.loop import Saving, train

if TYPE_CHECKING:
    from synchresis.media import Clip
    from synchresis.systems.tempotokens import Settings, TempoTokens
    from synchresis.systems.video_base import TextToVideoBase
    from synchresis.systems.weights import Loaded

ABSOLUTE = 0.01  # weight of the mean absolute value of the vectors
SILENT = 1e-4    # samples below it are no sound to learn from


@dataclass(frozen=True)
class Lesson:
    """A stretch of a film: BEATs' tokens [1, N, D] in the mapper's order, latents [1, C, F, h, w], a prompt.

    `inside` [F] is 1 for frames that the film has, 0 for those behind its end, which are not learned from.
    """

    tokens: Tensor
    latents: Tensor
    inside: Tensor
    prompt: str


def lesson(
    system: TempoTokens, path: Path, prompt: str = "", start: Fraction = Fraction(0), settings: Settings | None = None
) -> Lesson:
    """What a stretch of a film from `start` (s) on teaches: its sound, and its pictures at the system's size and rate.

    The stretch and the order of tokens are those of `settings`. Raises BadInputError without sound or picture, and for
    a stretch that is silent.
    """
    clip = _clip(path)
    if not 0 <= start < clip.duration:
        raise BadInputError(f"{path} ends before {float(start):g} s")
    item = _taught(system, clip, prompt, start, _checked(settings))
    if item is None:
        raise BadInputError(f"{path} is silent from {float(start):g} s on")
    return item


def read_film(system: TempoTokens, path: Path, prompt: str = "", settings: Settings | None = None) -> list[Lesson]:
    """What a film teaches, stretch after stretch; the last begins earlier where it must. Silent ones are left out.

    Raises BadInputError for a film without sound or picture, and for one that is silent or under a second.
    """
    from synchresis.systems.tempotokens import FRAMES

    settings, clip = _checked(settings), _clip(path)
    spans = stretches(clip.duration, settings.stretch, Fraction(settings.stretch, FRAMES))
    items = [_taught(system, clip, prompt, span.start, settings) for span in spans]
    heard = [item for item in items if item is not None]
    if not heard:
        raise BadInputError("it is silent")
    return heard


def _clip(path: Path) -> Clip:
    from synchresis.media import probe

    clip = probe(path)
    if clip.video is None or not clip.audio:
        raise BadInputError(f"{path}: to learn from it takes a picture and a sound")
    return clip


def _checked(settings: Settings | None) -> Settings:
    from synchresis.systems.tempotokens import Settings

    settings = settings or Settings()
    settings.check()
    return settings


@torch.no_grad()
def _taught(system: TempoTokens, clip: Clip, prompt: str, start: Fraction, settings: Settings) -> Lesson | None:
    """The lesson of a stretch, None where it is silent. Behind the end of the film are its last picture and silence."""
    from synchresis.media import frames, read_sound
    from synchresis.systems.tempotokens import FRAMES, monaural, spread_tokens

    sound = read_sound(clip, span=Span(start, start + settings.stretch))
    if abs(sound.values).max(initial=0.0) < SILENT:
        return None
    rate, size = Fraction(FRAMES, settings.stretch), (system.config["height"], system.config["width"])
    times = [start + (i + Fraction(1, 2)) / rate for i in range(FRAMES)]
    seen = [min(time, clip.duration) for time in times]
    tokens = system.hear(monaural(sound.values, int(sound.rate)).to(system.device))
    return Lesson(
        tokens=spread_tokens(tokens, settings.published_order),
        latents=system.base.encode((picture for _, picture in frames(clip, times=seen, size=size)), settings.vae_batch),
        inside=torch.tensor([float(time < clip.duration) for time in times], device=system.device),
        prompt=prompt,
    )


def worded(base: TextToVideoBase, prompt: str) -> str:
    """The prompt with the words that the sound replaces behind it, unless it has some of them."""
    if any(word in prompt for word in base.placeholders):
        return prompt
    return f"{prompt} {' '.join(base.placeholders)}".strip()


def loss_of(mapper: Mapper, base: TextToVideoBase, lessons: Sequence[Lesson], noise: Tensor, t: Tensor) -> Tensor:
    """The loss of a batch at timesteps t [B] with noise [B, C, F, h, w]; gradients reach the mapper alone."""
    from synchresis.systems.tempotokens import FRAMES, vectors_of

    states, made = [], []
    for item in lessons:
        vectors = vectors_of(mapper(item.tokens, FRAMES))
        prompt = worded(base, item.prompt)
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
    saving: Saving | None = None,
) -> None:
    """Trains the mapper of `system` in place; everything else is frozen. The result is the average of the way's end.

    Raises ValueError for no lessons or lessons of different sizes, FloatingPointError for a loss that is no number.
    """
    if not lessons:
        raise ValueError("no stretches to learn from")
    draw = torch.Generator().manual_seed(seed)
    shape = lessons[0].latents.shape[1:]

    def batches() -> Iterator[tuple[list[Lesson], Tensor, Tensor]]:
        while True:
            items = [lessons[i] for i in torch.randint(len(lessons), (batch,), generator=draw).tolist()]
            if any(item.latents.shape[1:] != shape for item in items):
                raise ValueError("lessons must be of one size")
            t = torch.randint(len(system.base.schedule.alphas), (batch,), generator=draw)
            yield [on(system.device, item) for item in items], torch.randn((batch, *shape), generator=draw), t

    def loss(drawn: object) -> Tensor:
        items, noise, t = cast("tuple[list[Lesson], Tensor, Tensor]", drawn)
        return loss_of(system.mapper, system.base, items, noise.to(system.device), t.to(system.device))

    frozen = [network for name, network in system.loaded.components.items() if name != "mapper"]
    for network in frozen:
        network.requires_grad_(False)
    try:
        trained = train(
            system.mapper, batches(), loss, steps=steps, peak=peak, decay=decay, report=report, saving=saving
        )
    finally:
        for network in frozen:
            network.requires_grad_(True)
        system.mapper.eval()
    system.mapper.load_state_dict(trained)
    system.loaded.__dict__.pop("digest", None)  # that of the weights before


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
    """TempoTokens' mapper trained on films (`training.films`), written to `out`; all else stays.

    `init` is the published mapper, beside which `parts` have the base and BEATs, or a folder of ours; without it the
    mapper is new, over `parts` or over random networks of `size`. Raises BadInputError for films, prompts, weights or
    an `out` that cannot be used.
    """
    from synchresis.systems.tempotokens import TempoTokens

    listed = opened(out, films)
    loaded = _begun(size, init, parts, course.seed)
    system = TempoTokens(loaded, course.device)
    _check_prompts(system.base, listed)

    def read(film: Film) -> list[dict[str, Tensor]]:
        items = read_film(system, film.path)
        return [{"tokens": item.tokens, "latents": item.latents, "inside": item.inside} for item in items]

    with lessons_folder(course.cache) as folder:
        lessons = lessons_of(
            loaded, ("beats", "vae"), listed, read, lambda film, lesson: Lesson(prompt=film.prompt, **lesson), course,
            folder,
        )  # fmt: skip
        output = output_for(loaded, out, ("mapper",), course, lessons, init)
        train_mapper(
            system, lessons, steps=course.steps, peak=course.rate, batch=course.batch, seed=course.seed,
            report=course.reported, saving=output.saving,
        )  # fmt: skip
    return output.finish()


def _begun(size: str | None, init: Path | None, parts: Mapping[str, Path], seed: int) -> Loaded:
    """As `course.begun`; or a new mapper over the base and BEATs of `parts`, which say how wide it is."""
    if init is not None or not parts:
        return begun("tempotokens", size, init, parts, ("mapper",), seed)
    from synchresis.systems import config_of, tempotokens, video_base
    from synchresis.systems.weights import Loaded

    if parts.keys() != tempotokens.PARTS.keys():
        raise BadInputError("a new mapper learns over --part base=PLACE and --part beats=PLACE: give both, or neither")
    config, _ = config_of("tempotokens", size or "full")
    cfg, beats, heard = tempotokens.read_beats(parts["beats"])
    base, networks, reports = video_base.read(parts["base"])
    ear = BeatsConfig.from_cfg(cfg)
    widths = MapperConfig(
        input=ear.encoder_layers * ear.encoder_embed_dim,
        hidden=config["mapper"]["hidden"],
        output=base["text"]["network"]["hidden_size"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mapper = Mapper(widths)
    config |= {"base": base, "beats": cfg, "mapper": vars(widths)}
    return Loaded("tempotokens", config, networks | {"beats": beats, "mapper": mapper}, [*reports, heard])


def _check_prompts(base: TextToVideoBase, films: Sequence[Film]) -> None:
    """Raises BadInputError naming a film whose prompt leaves no room for the words that the sound replaces."""
    for film in {film.prompt: film for film in films}.values():
        try:
            with torch.no_grad():
                base.told(worded(base, film.prompt), {})
        except BadInputError as error:
            raise BadInputError(f"{film.said}: {error}") from error
