"""The metrics that need a network: embeddings once per sound, kept by content, and the arithmetic on them.

Nothing is put in the place of weights that are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from synchresis.encoders.resampling import sinc_resampled
from synchresis.errors import BadInputError
from synchresis.evaluation import classes, scores, sets
from synchresis.evaluation.clips import Files, Material
from synchresis.evaluation.definitions import Definition
from synchresis.evaluation.networks import NETWORKS
from synchresis.evaluation.records import Progress, Record, Report, System
from synchresis.evaluation.statistics import small_set
from synchresis.media import frames
from synchresis.timeline import written_beside

VERSION = 1  # of the preparations below
Rows = dict[str, np.ndarray]


# ------------------------------------------------------------------------------------ what a kit lets a network hear


def audioldm_eval(material: Material, rate: int) -> np.ndarray:
    """First channel, its mean removed, torchaudio's resampler, whole ("Metrics" 2)."""
    wave = material.sound[:, 0]
    return sinc_resampled(wave - wave.mean(), material.rate, rate)


def av_benchmark(material: Material, rate: int) -> np.ndarray:
    """torchaudio's resampler, mean of the channels, offset removed, the first 8 s."""
    wave = sinc_resampled(material.sound.mean(axis=1), material.rate, rate)
    wave = wave - wave.mean()
    return wave[: 8 * rate]


def ten_seconds(material: Material, rate: int) -> np.ndarray:
    """As av-benchmark, but 10 s: for PaSST, which fills up and cuts by itself."""
    wave = sinc_resampled(material.sound.mean(axis=1), material.rate, rate)
    return (wave - wave.mean())[: 10 * rate]


def whole(material: Material, rate: int) -> np.ndarray:
    """torchaudio's resampler, mean of the channels, whole."""
    return sinc_resampled(material.sound.mean(axis=1), material.rate, rate)


def first_channel(material: Material, rate: int) -> np.ndarray:
    """The first channel, whole (ImageBind)."""
    return sinc_resampled(material.sound[:, 0], material.rate, rate)


BATCH = 8  # clips that a network hears together
Preparation = Callable[[Material, int], np.ndarray]
PREPARED: dict[str, Preparation] = {
    "fd-panns-16k/audioldm_eval": audioldm_eval,
    "kl-panns/audioldm_eval": audioldm_eval,
    "is-panns/audioldm_eval": audioldm_eval,
    "fad-vggish/audioldm_eval": audioldm_eval,
    "fd-panns/av-benchmark": av_benchmark,
    "kl-panns/av-benchmark": av_benchmark,
    "is-panns/av-benchmark": av_benchmark,
    "kad-panns/reference-bandwidth": av_benchmark,
    "fd-vgg/av-benchmark": av_benchmark,
    "fd-passt/av-benchmark": ten_seconds,
    "kl-passt/av-benchmark": ten_seconds,
    "is-passt/av-benchmark": ten_seconds,
    "clap/laion": whole,
    "clap/microsoft-2023": whole,
    "pam/2023": whole,
    "desync/av-benchmark": av_benchmark,
    "desync/sliding": whole,
    "ib/av-benchmark": first_channel,
}


class Ear:
    """An opened network with its cache: rows of a file are computed once, whatever asks for them."""

    def __init__(self, name: str, weights: Mapping[str, str], cache: Path, device: str) -> None:
        info = NETWORKS[name]
        parts = {key.partition(".")[2]: place for key, place in weights.items() if key.startswith(f"{name}.")}
        self.network: Any = info.open(weights[name], device, parts)
        self.info = info
        self.cache = cache / "networks" / f"{name}-{self.network.digest[:16]}-{info.version}-{VERSION}"

    def hear(self, material: Material, prepare: Preparation) -> Rows:
        """Rows of one sound."""

        def compute() -> Rows:
            return self.network.embed([prepare(material, self.info.rate or 0)])[0]

        return self._kept(sound_key(material, prepare), compute)

    def hear_ahead(self, materials: Sequence[Material], prepare: Preparation) -> None:
        """Puts the rows of these sounds into the cache, what is not there yet in one batch."""
        waiting: dict[str, np.ndarray] = {}
        for material in materials:
            try:
                name = sound_key(material, prepare)
                if not self._path(name).exists():
                    waiting[name] = prepare(material, self.info.rate or 0)
            except (BadInputError, ValueError):
                continue  # `hear` meets it again, where the reason can be noted of its clip
        if waiting:
            for name, rows in zip(waiting, self.network.embed(list(waiting.values())), strict=True):
                self._keep(name, rows)

    def look(self, material: Material, seconds: float | None = None) -> Rows:
        """Rows of one picture, of its first `seconds` or of all."""
        film = material.film
        if film is None or self.info.picture_rate is None:
            raise BadInputError(f"{material.files.picture}: has no picture")
        rate = self.info.picture_rate or None

        def compute() -> Rows:
            shown = (picture for _, picture in frames(film, rate=rate))
            return self.network.look(islice(shown, round(seconds * rate)) if seconds and rate else shown)

        return self._kept(f"{material.hashes[1]}-{seconds or 'whole'}", compute)

    def _kept(self, name: str, compute: Callable[[], Rows]) -> Rows:
        if self._path(name).exists():
            with np.load(self._path(name)) as file:
                return {key: file[key] for key in file.files}
        rows = compute()
        self._keep(name, rows)
        return rows

    def _path(self, name: str) -> Path:
        return self.cache / f"{name}.npz"

    def _keep(self, name: str, rows: Rows) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        with written_beside(self._path(name)) as part, part.open("wb") as file:
            np.savez(file, **rows)  # type: ignore[arg-type]


def sound_key(material: Material, prepare: Preparation) -> str:
    return f"{material.hashes[0]}-{prepare.__name__}"


# ------------------------------------------------------------------------------------ the scores


def listen(
    report: Report,
    takes: dict[str, dict[str, Files]],
    true: dict[str, Files],
    weights: Mapping[str, str],
    captions: Mapping[str, str],
    cache: Path,
    device: str,
    progress: Progress,
) -> None:
    """Adds what networks say to the records and values of a report; what has no weights goes to report.missing.

    Raises BadInputError for weights of a network that does not exist.
    """
    for key in weights:
        if key.partition(".")[0] not in NETWORKS:
            raise BadInputError(f"--weights {key}: no such network; there are {', '.join(NETWORKS)}")
    by_network: dict[str, list[Definition]] = {}
    for definition in report.definitions:
        if not definition.network:
            continue
        if definition.network in weights:
            by_network.setdefault(definition.network, []).append(definition)
        else:
            report.missing[definition.id] = NETWORKS[definition.network].missing()
    for name, definitions in by_network.items():
        ear = Ear(name, weights, cache, device)
        report.networks[name] = {"weights": weights[name], "digest": ear.network.digest, "version": ear.info.version}
        for system in report.systems:
            system.warnings += [w for w in ear.network.warnings if w not in system.warnings]
            gathered: dict[str, list[tuple[Rows, Rows | None]]] = {}
            for done, (record, take, reference) in enumerate(ahead(ear, definitions, system, takes[system.name], true)):
                clip = record["id"]
                for definition in definitions:
                    try:
                        score, rows = one(ear, definition, take, reference, captions.get(clip))
                    except (BadInputError, ValueError) as error:
                        record["scores"][definition.id] = {"value": None, "why": str(error)}
                        continue
                    if rows is not None:
                        gathered.setdefault(definition.id, []).append(rows)
                    if score is not None:
                        record["scores"][definition.id] = {"value": score}
                progress(f"{name}, {system.name}", (done + 1) / len(system.records))
            for definition in definitions:
                if definition.kind == "set":
                    of_set(system, definition, gathered.get(definition.id, []))


def ahead(
    ear: Ear, definitions: Sequence[Definition], system: System, takes: dict[str, Files], true: dict[str, Files]
) -> Iterator[tuple[Record, Material, Material | None]]:
    """The records of a system with take and true clip, after the sounds of the next `BATCH` were heard together."""
    preparations = {PREPARED[definition.id] for definition in definitions if definition.id in PREPARED}
    for first in range(0, len(system.records), BATCH):
        group = [
            (record, Material(takes[record["id"]]), Material(true[record["id"]]) if record["id"] in true else None)
            for record in system.records[first : first + BATCH]
        ]
        sounding = [m for _, *both in group for m in both if m is not None and m.sounds]
        for prepare in sorted(preparations, key=lambda p: p.__name__):
            ear.hear_ahead(sounding, prepare)
        yield from group


def one(
    ear: Ear, definition: Definition, take: Material, true: Material | None, text: str | None
) -> tuple[float | None, tuple[Rows, Rows | None] | None]:
    """The score of one clip, or the rows that the score of the set needs. Raises BadInputError for what it lacks."""
    name = definition.id
    if "sound" in definition.needs and not take.sounds:
        raise BadInputError("the take has no sound")
    if "reference" in definition.needs and (true is None or not true.sounds):
        raise BadInputError("no reference that sounds")
    if "text" in definition.needs and text is None:
        raise BadInputError("no caption")
    if name == "fvd/videogpt":
        if true is None or true.film is None or take.film is None:
            raise BadInputError("take and reference need a picture each")
        return None, (ear.look(take), ear.look(true))
    if name == "clipsim/vit-b-32":
        return float(scores.clipsim(ear.look(take)["features"][None], ear.network.read([text]))[0]), None
    prepare = PREPARED[name]
    if name == "pam/2023":
        from synchresis.evaluation.networks.claps import PAM_TEXTS

        scale = float(ear.network.module.logit_scale)
        prompts = ear.network.read(PAM_TEXTS)
        return float(scores.pam_scores(ear.hear(take, prepare)["features"], prompts, scale).mean()), None
    heard = ear.hear(take, prepare)
    if name.startswith("clap/"):
        return float(scores.cosines(heard["features"], ear.network.read([text])).mean()), None
    if name.startswith(("desync/", "ib/")):
        shown = true if true is not None and true.film is not None else take
        if name.startswith("ib/"):
            return float(scores.cosines(heard["features"], ear.look(shown)["features"])[0]), None
        sliding = name == "desync/sliding"
        seen = ear.look(shown, None if sliding else 8.0)
        return float(scores.desync(ear.network.judge(seen["features"], heard["features"], sliding)).mean()), None
    reference = ear.hear(true, prepare) if true is not None and true.sounds else None
    if name.startswith("kl-"):
        assert reference is not None
        floor = 1e-6 if name.endswith("audioldm_eval") else 0.0
        return float(classes.kl_softmax(reference["logits"], heard["logits"], floor).mean()), None
    return None, (heard, reference)


def of_set(system: System, definition: Definition, rows: list[tuple[Rows, Rows | None]]) -> None:
    """The value of a set metric from the rows of all clips; rows of windows are pooled."""
    name = definition.id
    if len(rows) < 2:
        system.unscored[name] = {"fewer than two clips": len(rows)}
        return
    if name.startswith("is-"):
        logits = np.concatenate([made["logits"] for made, _ in rows])
        mean, deviation = classes.inception_score(logits)
        if np.isnan(mean):
            system.unscored[name] = {"fewer than ten clips": len(rows)}
            return
        system.values[name] = {"value": mean, "deviation": deviation, "n": len(rows)}
        return
    made = np.concatenate([r["features"] for r, _ in rows])
    true = np.concatenate([r["features"] for _, r in rows if r is not None])
    distance = sets.kernel_audio_distance if name.startswith("kad-") else sets.frechet
    system.values[name] = {"value": distance(made, true), "n": len(rows), "rows": len(made)}
    if warning := small_set(min(len(made), len(true)), made.shape[1]):
        system.warnings.append(f"{name}: {warning}")
