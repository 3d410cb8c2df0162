"""Training of STA-V2A: the denoiser under its ControlNet, and the onset pretext task beside it.

`train_folder` goes from a list of films to a folder; step by step it is `systems.sta_v2a.begin`, `read_examples`,
`train_sta_v2a` and `systems.weights.write_folder`.

The published trainer was never released (spec section 10). As there: two losses, added; text encoder, CAVP and codec
frozen; the UNet frozen too unless asked for. Differently: the words are dropped as they are at inference, to the empty
string, and the picture with a probability of its own, so that it can be guided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from synchresis.diffusion.guidance import drop
from synchresis.training.course import Course, begun, lessons_of, on, opened, output_for
from synchresis.training.films import Film, Lesson, lessons_folder
from synchresis.training.latent_unet import (
    GAMMA,
    LATENTS,
    Levels,
    coded_stretches,
    loss_of,
    min_snr_weights,
    noised,
)
from synchresis.training.loop import Saving, train
from synchresis.training.onsets import onset_loss, sound_labels

if TYPE_CHECKING:
    from synchresis.systems.sta_v2a import ControlledUNet
    from synchresis.systems.weights import Loaded

TEXT_DROPPED = VIDEO_DROPPED = 0.1  # of the items lack their words, and their picture
ONSET_WEIGHT = 0.1                  # of the onset loss, where that of the diffusion counts 1


@dataclass(frozen=True)
class Example:
    """A clip: latents [8, T, 16], features of the picture [S, D], the prompt, and onset labels [T] int64."""

    latents: Tensor
    features: Tensor
    prompt: str
    labels: Tensor


@dataclass(frozen=True)
class Batch:
    """Latents [B, 8, T, 16]; features [B, S, D], of which `rows` [B, S] count; prompts; labels [B, T]."""

    latents: Tensor
    features: Tensor
    rows: Tensor
    prompts: list[str]
    labels: Tensor


@dataclass(frozen=True)
class Losses:
    diffusion: Tensor
    onset: Tensor


@torch.no_grad()
def read_examples(loaded: Loaded, film: Path, prompt: str, latents: int = LATENTS) -> list[Example]:
    """What a film with sound teaches, in stretches of up to `latents`, in whole cells of the UNet.

    The sound is levelled as AudioLDM's was. Silent stretches are left out. Raises BadInputError for a film without
    picture or sound, and for one that is silent or under a second.
    """
    from synchresis.codecs.audioldm import RATE
    from synchresis.encoders.cavp import frame_features
    from synchresis.media import probe, read_sound
    from synchresis.systems.published import need_picture

    networks: Any = loaded.components
    codec, clip = networks["codec"], probe(film)
    need_picture(clip)
    seen = torch.from_numpy(frame_features(networks["cavp"].eval(), clip, side=loaded.config["side"]).values)
    multiple = 2 ** (len(loaded.config["unet"]["block_out_channels"]) - 1)
    rate, examples = networks["local"].config.rate, []
    for span, coded in coded_stretches(codec, clip, multiple, latents):
        cells = coded.shape[1]
        # The whole stretch is listened to, so that its last cells know what is loud.
        labels = sound_labels(read_sound(clip, rate=RATE, mono=True, span=span), cells, codec.latent_rate)
        first = min(math.ceil(span.start * rate), len(seen) - 1)
        rows = max(1, math.ceil(Fraction(cells, codec.latent_rate) * rate))
        examples.append(Example(coded, seen[first : first + rows], prompt, labels))
    return examples


def batches(examples: Sequence[Example], size: int, draw: torch.Generator) -> Iterator[Batch]:
    """Random clips, their latents cut to the shortest of the batch, from the beginning of each."""
    while True:
        chosen = [examples[i] for i in torch.randint(len(examples), (size,), generator=draw).tolist()]
        cells = min(len(example.labels) for example in chosen)
        features = nn.utils.rnn.pad_sequence([example.features for example in chosen], batch_first=True)
        counts = torch.tensor([[len(example.features)] for example in chosen])
        yield Batch(
            torch.stack([example.latents[:, :cells] for example in chosen]),
            features,
            torch.arange(features.shape[1]) < counts,
            [example.prompt for example in chosen],
            torch.stack([example.labels[:cells] for example in chosen]),
        )


class Trainee(nn.Module):
    """What is trained: ControlNet, local and global branch, and the UNet if it is not frozen."""

    def __init__(self, loaded: Loaded, unet_too: bool = False) -> None:
        super().__init__()
        from synchresis.systems.sta_v2a import ControlledUNet

        names = ["control", "local", "pooling", *(["unet"] if unet_too else [])]
        self.trained = nn.ModuleDict({name: loaded.components[name] for name in names if name in loaded.components})
        parts: Any = loaded.components
        # In a tuple, so that what is frozen is no part of this module.
        self.frozen: tuple[ControlledUNet, Any] = (
            ControlledUNet(parts["unet"], parts["control"], parts["codec"].bins),
            parts["text"],
        )
        if not unet_too:
            parts["unet"].requires_grad_(False)

    def forward(
        self, noisy: Tensor, t: Tensor, batch: Batch, worded: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Prediction [B, 8, T, 16] and onset logits [B, T, 2]; items [B] that are not `worded` have the empty string,
        and those not `seen` no picture.
        """
        from synchresis.systems.latent_unet import columns, pictured
        from synchresis.systems.sta_v2a import conditions

        denoiser, text = self.frozen
        prompts = [prompt if told else "" for prompt, told in zip(batch.prompts, worded.tolist(), strict=True)]
        words, mask = text.encode(prompts)
        here = seen.to(noisy)[:, None, None]
        local = self.trained["local"](batch.features, noisy.shape[2], batch.rows)
        tokens = self.trained["pooling"](batch.features, batch.rows) * here if "pooling" in self.trained else None
        told = denoiser.prepare(**conditions(words, mask, tokens, local.feature * here))
        return pictured(denoiser(columns(noisy), t, told), denoiser.bins), local.logits


def batch_losses(
    trainee: Trainee,
    batch: Batch,
    schedule: Levels,
    draw: torch.Generator,
    *,
    text_dropped: float = TEXT_DROPPED,
    video_dropped: float = VIDEO_DROPPED,
    gamma: float | None = GAMMA,
) -> Losses:
    """Both losses at timesteps drawn evenly; `gamma` None weighs all noise levels alike."""
    size = len(batch.latents)
    t = torch.randint(len(schedule.alphas), (size,), generator=draw)
    noise = torch.randn(batch.latents.shape, generator=draw).to(batch.latents)
    worded, seen = (drop(torch.ones(size, 1), share, draw)[:, 0] > 0 for share in (text_dropped, video_dropped))
    noisy, target = noised(schedule, batch.latents, noise, t)
    prediction, logits = trainee(noisy, t.to(noisy.device), batch, worded, seen)
    weights = torch.ones(size) if gamma is None else min_snr_weights(schedule, t, gamma, _form(schedule))
    return Losses(loss_of(prediction, target, weights), onset_loss(logits, batch.labels).mean())


def _form(schedule: Levels) -> Any:
    return "epsilon" if schedule.prediction == "epsilon" else "v"


def train_sta_v2a(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    steps: int,
    seed: int = 0,
    batch: int = 8,
    peak: float = 1e-4,
    unet_too: bool = False,
    text_dropped: float = TEXT_DROPPED,
    video_dropped: float = VIDEO_DROPPED,
    onset_weight: float = ONSET_WEIGHT,
    gamma: float | None = GAMMA,
    decay: float = 0.999,
    report: Callable[[int, float], None] | None = None,
    saving: Saving | None = None,
) -> Loaded:
    """Trains the networks in place, with a moving average of their weights, and returns them in `eval`.

    With `video_dropped` 0 the system will refuse guidance on the picture. Raises ValueError for no examples.
    """
    from synchresis.systems.latent_unet import Schedule

    if not examples:
        raise ValueError("no clips to learn from")
    loaded.config["video_dropped"] = video_dropped > 0
    schedule = Schedule.from_dict(loaded.config["scheduler"])
    draw = torch.Generator().manual_seed(seed)
    trainee = Trainee(loaded, unet_too)

    def one(given: Any) -> Tensor:
        given = on(next(trainee.parameters()).device, given)
        losses = batch_losses(
            trainee, given, schedule, draw, text_dropped=text_dropped, video_dropped=video_dropped, gamma=gamma
        )
        return losses.diffusion + onset_weight * losses.onset

    for network in loaded.components.values():
        network.eval()
    weights = train(
        trainee, batches(examples, batch, draw), one, steps=steps, peak=peak, decay=decay, report=report, saving=saving
    )
    trainee.load_state_dict(weights)
    loaded.__dict__.pop("digest", None)  # that of the weights before
    for network in loaded.components.values():
        network.eval().requires_grad_(True)
    return loaded


def train_folder(
    out: Path,
    films: Path,
    *,
    size: str | None = None,
    init: Path | None = None,
    parts: Mapping[str, Path],
    course: Course,
    unet_too: bool = False,
) -> Path:
    """STA-V2A trained on films (`training.films`), written to `out`.

    ControlNet, local and global branch learn, and the UNet with `unet_too`. `init` is a text-to-audio folder of
    diffusers, the published folder, or a folder of ours. Raises BadInputError for films, weights or an `out` that
    cannot be used.
    """
    listed = opened(out, films)
    loaded = _begun(size, init, parts, course.seed)
    for network in loaded.components.values():
        network.eval().to(course.device)

    def read(film: Film) -> list[Lesson]:
        examples = read_examples(loaded, film.path, film.prompt)
        return [{"latents": e.latents, "features": e.features, "labels": e.labels} for e in examples]

    with lessons_folder(course.cache) as folder:
        lessons = lessons_of(
            loaded, ("cavp", "codec"), listed, read, lambda film, lesson: Example(prompt=film.prompt, **lesson), course,
            folder,
        )  # fmt: skip
        trained = [name for name in ("control", "local", "pooling") if name in loaded.components]
        output = output_for(loaded, out, [*trained, *(["unet"] if unet_too else [])], course, lessons, init)
        train_sta_v2a(
            loaded, lessons, steps=course.steps, seed=course.seed, batch=course.batch, peak=course.rate,
            unet_too=unet_too, report=course.reported, saving=output.saving,
        )  # fmt: skip
    return output.finish()


def _begun(size: str | None, init: Path | None, parts: Mapping[str, Path], seed: int) -> Loaded:
    from synchresis.systems import sta_v2a

    if init is not None and ((init / "system.json").is_file() or not (init / "unet").is_dir()):
        loaded = begun("sta_v2a", size, init, parts, (), seed)
        loaded.config["quirks"] = dict(sta_v2a.OUR_QUIRKS)  # what is trained now is trained our way
        return loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return sta_v2a.begin(size or "full", init, parts)
