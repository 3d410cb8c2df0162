"""Training of Video2RMS: cross entropy against loudness classes whose neighbours count a little too.

    net = train_mapper([(features, envelope), ...], steps=2000, seed=0)
    save_mapper(net, Path("mapper.safetensors"))  # of synchresis.nn.rms_mapper

A clip is features [T, F] and the envelope that sounded, amplitudes [T'] 0..1 at the rate of the labels, both from the
clip's beginning (`synchresis.encoders.rms_features` makes the first, `rms_codes.envelope_of` the second).
Sources: Stable-Foley spec section 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.nn.rms_mapper import RMSMapper, RMSMapperConfig
from synchresis.timeline.rms_codes import CODE_RATE, classes_of, envelope_of, smoothed
from synchresis.training.course import Course, begun, lessons_of, opened, output_for
from synchresis.training.films import Film, Lesson, lessons_folder, stretches
from synchresis.training.loop import Saving, train

if TYPE_CHECKING:
    from synchresis.systems.stable_foley import StableFoley

Pair = tuple[np.ndarray, np.ndarray]
CROP = 300   # frames of features: 10 s at 30 Hz
STRETCH = 60  # seconds of a long film whose sound is held, and has one peak
BATCH = 16


def smoothed_cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean over all positions of - sum(wanted log softmax(logits)); both [..., classes]."""
    return -(wanted * logits.log_softmax(-1)).sum(-1).mean()


def batches(
    pairs: Sequence[Pair], config: RMSMapperConfig, draw: torch.Generator, size: int, crop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [size, crop', F] and smoothed labels [size, T', classes] of random places of random clips.

    crop' is `crop`, or the length of the shortest clip where that is less.
    """
    crop = min(crop, *(len(features) for features, _ in pairs))
    ratio = config.labels_per_frame
    soft = [torch.from_numpy(smoothed(classes_of(envelope), levels=config.classes)) for _, envelope in pairs]
    seen = [torch.from_numpy(np.asarray(features, np.float32)) for features, _ in pairs]
    while True:
        features, labels = [], []
        for clip in torch.randint(len(pairs), (size,), generator=draw).tolist():
            first = int(torch.randint(len(seen[clip]) - crop + 1, (1,), generator=draw))
            begin = round(first * ratio)
            features.append(seen[clip][first : first + crop])
            labels.append(soft[clip][begin : begin + round(crop * ratio)])
        yield torch.stack(features), torch.stack(labels)


def train_mapper(
    pairs: Sequence[Pair],
    config: RMSMapperConfig | None = None,
    *,
    steps: int,
    seed: int = 0,
    peak: float = 1e-3,
    batch: int = BATCH,
    crop: int = CROP,
    device: str = "cpu",
    report: Callable[[int, float], None] | None = None,
    saving: Callable[[RMSMapper], Saving] | None = None,
) -> RMSMapper:
    """A mapper trained on clips, in `eval`. `saving` is asked for once, with the mapper that is being trained.

    Raises ValueError for no clips or pairs that are not of one length.
    """
    if not pairs:
        raise ValueError("no clips to learn from")
    config = config or RMSMapperConfig(features=pairs[0][0].shape[1])
    for i, (features, envelope) in enumerate(pairs):
        wanted = round(len(features) * config.labels_per_frame)
        if features.shape[1:] != (config.features,) or len(envelope) < wanted:
            raise ValueError(f"clip {i}: features {features.shape} and {len(envelope)} values of the envelope")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RMSMapper(config)
        every = np.concatenate([np.asarray(features, np.float32) for features, _ in pairs])
        net.mean.copy_(torch.from_numpy(every.mean(0)))
        net.std.copy_(torch.from_numpy(every.std(0)).clamp_min(1e-3))
        net.to(device)
        draw = torch.Generator().manual_seed(seed + 1)

        def loss_of(item: object) -> Tensor:
            features, labels = (x.to(device) for x in item)  # type: ignore[attr-defined]
            return smoothed_cross_entropy(net(features), labels)

        material = batches(pairs, config, draw, batch, crop)
        kept = None if saving is None else saving(net)
        net.load_state_dict(train(net, material, loss_of, steps=steps, peak=peak, report=report, saving=kept))
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
    """Video2RMS trained on films (`training.films`) for a Stable-Foley, which is written to `out` with it.

    It begins anew, also where the system of `init` has one. Raises BadInputError for films, weights or an `out` that
    cannot be used.
    """
    from synchresis.encoders.rms_features import MOTION
    from synchresis.systems.stable_foley import StableFoley

    listed = opened(out, films)
    loaded = begun("stable_foley", size, init, parts, (), course.seed)
    system = StableFoley(loaded, course.device)
    config = RMSMapperConfig(features=MOTION + loaded.config["cavp"]["embed_dim"])
    loaded.config["rms_mapper"] = dict(vars(config))

    def make(_: Film, lesson: Lesson) -> Pair:
        return lesson["features"].numpy(), lesson["envelope"].numpy()

    with lessons_folder(course.cache) as folder:
        lessons = lessons_of(
            loaded, ("cavp",), listed, lambda film: read_film(system, film.path), make, course, folder, "rms_mapper"
        )
        output = output_for(loaded, out, ("rms_mapper",), course, lessons, init)

        def saving(net: RMSMapper) -> Saving:
            loaded.components["rms_mapper"] = net
            return output.saving

        train_mapper(
            list(lessons), config, steps=course.steps, seed=course.seed, peak=course.rate, batch=course.batch,
            device=course.device, report=course.reported, saving=saving,
        )  # fmt: skip
    return output.finish()


def read_film(system: StableFoley, film: Path) -> list[Lesson]:
    """Features [T, F] at 30 Hz and the envelope [T] at the same instants, of a sound at a peak of 1, per stretch.

    Silent stretches are left out. Raises BadInputError for a film without picture or sound, or one that is silent or
    under a second.
    """
    from synchresis.encoders.cavp import frame_features
    from synchresis.encoders.rms_features import mapper_features
    from synchresis.media import probe, read_sound
    from synchresis.systems.published import need_picture

    clip = probe(film)
    need_picture(clip)
    if not clip.audio:
        raise BadInputError("it has no sound")
    spans = stretches(clip.duration, STRETCH, 1)
    looks, filters = system.config["frames"], system.config["envelope"]
    seen = mapper_features(clip, frame_features(system.cavp, clip, looks["rate"], looks["side"])).values
    lessons = []
    for span in spans:
        sound = read_sound(clip, rate=system.rate, mono=True, span=span).values
        peak = float(np.abs(sound).max(initial=0.0))
        if peak < 1e-4:
            continue
        envelope = envelope_of(sound / peak, filters["rms_window"], filters["box_window"])
        features = seen[int(span.start * CODE_RATE) : int(span.end * CODE_RATE)]
        places = np.round(np.arange(len(features)) * system.rate / CODE_RATE).astype(int)
        told = {"features": features, "envelope": envelope[np.minimum(places, len(envelope) - 1)].astype(np.float32)}
        lessons.append({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in told.items()})
    if not lessons:
        raise BadInputError("it is silent")
    return lessons
