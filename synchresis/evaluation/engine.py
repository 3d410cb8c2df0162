"""From folders to numbers: clips paired by id, each decoded once in a worker, records that a later run takes up.

    report = evaluate(["takes/ours", "takes/theirs"], reference="clips", out="evaluation")
    report.systems[0].means["aa-align/one-to-one"].mean

In `out` lie SYSTEM.jsonl (a record per clip, appended as they come), cache/ (what was learned of a picture, features,
drawings; by content, so that nothing stale is used), summary.json and index.html.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchresis.errors import BadInputError
from synchresis.evaluation import sets
from synchresis.evaluation.clips import Files, Material, find
from synchresis.evaluation.definitions import Definition, chosen
from synchresis.evaluation.features import DIMENSION, standardised
from synchresis.evaluation.measure import CLIP_METRICS, VERSION, Pair, Score, measure
from synchresis.evaluation.records import Progress, Record, Report, System, drawing_path
from synchresis.evaluation.statistics import Difference, bootstrap, holm, paired, small_set
from synchresis.timeline import written_beside


@dataclass(frozen=True)
class Task:
    """One clip id for a worker: the takes of all systems and the true clip, so that this is decoded once.

    known: of each system the key and the ids of the record that is there already.
    """

    id: str
    takes: dict[str, Files]
    true: Files | None
    ids: tuple[str, ...]
    known: dict[str, tuple[str, frozenset[str]]]
    cache: Path
    draw: bool


def evaluate(
    generated: Sequence[str | Path],
    reference: str | Path | None = None,
    metrics: Sequence[str] = ("offline",),
    weights: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    captions: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Progress = lambda stage, done: None,
) -> Report:
    """Measures folders of takes. metrics: ids or groups (see `definitions.chosen`).

    weights: by network id a file, folder or hub id; by ID.PART a part of it (a tokenizer). out: where records, caches,
    summary and page go; None: nothing is kept. workers: processes, by default one per core and 8 at most; 1 works in
    this process. captions: text by clip id. Raises BadInputError for folders without clips in common with the
    reference, unknown metrics or weights; a clip that cannot be read is in `failed` and nowhere else.
    """
    definitions = chosen(list(metrics))
    true = find(Path(reference)) if reference is not None else {}
    systems = [System(name, folder) for name, folder in named([Path(folder) for folder in generated]).items()]
    takes = {system.name: find(system.folder) for system in systems}
    for system in systems:
        pair(system, takes[system.name], true, reference)
    with ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synchresis-")))
        else:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
        measure_clips(systems, takes, true, definitions, folder, workers, progress)
        report = Report(systems, Path(reference) if reference else None, definitions)
        if any(d.network for d in definitions):
            from synchresis.evaluation.listening import listen

            listen(report, takes, true, dict(weights or {}), dict(captions or {}), folder / "cache", device, progress)
        compare_sets(report, folder / "cache")
        summarise(report)
        if out is not None:
            write_records(report, folder)
            from synchresis.evaluation.page import write_page

            write_page(report, folder)
    return report


# ------------------------------------------------------------------------------------ pairing


def named(folders: list[Path]) -> dict[str, Path]:
    """Folders by their names, or by the last two parts where names repeat. Raises BadInputError for the same twice."""
    names: dict[str, Path] = {}
    for folder in folders:
        whole = folder.resolve()
        repeated = sum(other.resolve().name == whole.name for other in folders) > 1
        name = "-".join(whole.parts[-2:]) if repeated else whole.name
        if name in names:
            raise BadInputError(f"{folder}: is given twice, or another folder has its name")
        names[name] = folder
    return names


def pair(system: System, takes: dict[str, Files], true: dict[str, Files], reference: str | Path | None) -> None:
    """Notes which ids have no partner. Raises BadInputError where none has."""
    if reference is None:
        return
    system.alone = sorted(takes.keys() - true.keys())
    system.absent = sorted(true.keys() - takes.keys())
    if not takes.keys() & true.keys():
        some = ", ".join(list(takes)[:2]), ", ".join(list(true)[:2])
        raise BadInputError(
            f"{system.folder} and {reference} have no clip in common (ids are paths below the folder without suffix: "
            f"{some[0]} … against {some[1]} …)"
        )


# ------------------------------------------------------------------------------------ workers


def work(task: Task) -> list[Record]:
    """Records of what has to be measured; nothing for a system whose record is complete."""
    true = Material(task.true, task.cache) if task.true else None
    broken = refused(true) if true else None
    records = []
    for system, files in task.takes.items():
        take = Material(files, task.cache)
        record: Record = {"id": task.id, "system": system}
        reason = f"reference: {broken}" if broken else refused(take)
        if reason:
            records.append({**record, "failed": reason})
            continue
        hashes = {"take": take.hashes, "true": true.hashes if true else None}
        key = json.dumps([VERSION, hashes])
        known, done = task.known.get(system, ("", frozenset()))
        todo = [name for name in task.ids if key != known or name not in done]
        features = feature_path(task.cache, take.hashes[0])
        drawing = drawing_path(task.cache, hashes)
        if not todo and features.exists() and (drawing.exists() or not task.draw):
            continue
        pair = Pair(take, true)
        try:
            record |= {"key": key, "hashes": hashes, "scores": measure(pair, todo), "duration": pair.duration}
            for material in (take, true):
                if material is not None and material.sounds:
                    keep_features(material, task.cache)
            if task.draw:
                from synchresis.evaluation.drawing import draw

                keep(drawing, draw(pair))
        except BadInputError as error:  # a picture that breaks off, for instance, shows only when it is looked at
            record = {"id": task.id, "system": system, "failed": str(error)}
        records.append(record)
    return records


def refused(material: Material) -> str | None:
    """Why a clip cannot be read, or None."""
    try:
        if material.sounds:
            _ = material.sound
        elif material.film is None:
            return f"{material.files.sound}: holds neither sound nor picture"
        _ = material.hashes, material.film
    except BadInputError as error:
        return str(error)
    return None


def feature_path(cache: Path, content: str) -> Path:
    return cache / "logmel" / f"{content}-{VERSION}.npy"


def keep_features(material: Material, cache: Path) -> None:
    path = feature_path(cache, material.hashes[0])
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as part, part.open("wb") as file:
            np.save(file, material.features)


def keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as part:
        part.write_bytes(data)


def measure_clips(
    systems: list[System],
    takes: dict[str, dict[str, Files]],
    true: dict[str, Files],
    definitions: list[Definition],
    folder: Path,
    workers: int | None,
    progress: Progress,
) -> None:
    """Fills the records of the systems, those of an earlier run included where nothing has changed."""
    ids = tuple(d.id for d in definitions if d.id in CLIP_METRICS)
    kept = {system.name: read_records(folder / f"{system.name}.jsonl") for system in systems}
    tasks = []
    for clip in sorted({clip for system in systems for clip in takes[system.name]}):
        if true and clip not in true:
            continue
        mine = {s.name: takes[s.name][clip] for s in systems if clip in takes[s.name]}
        earlier = {name: kept[name][clip] for name in mine if clip in kept[name]}
        known = {name: (record["key"], frozenset(record["scores"])) for name, record in earlier.items()}
        tasks.append(Task(clip, mine, true.get(clip), ids, known, folder / "cache", draw=True))
    found: dict[str, dict[str, Record]] = {system.name: {} for system in systems}
    with ExitStack() as stack:
        files = {s.name: stack.enter_context((folder / f"{s.name}.jsonl").open("a")) for s in systems}
        for done, (task, records) in enumerate(worked(tasks, workers)):
            for record in records:
                before = kept[record["system"]].get(task.id)
                if before and before["key"] == record.get("key"):
                    record["scores"] = {**before["scores"], **record["scores"]}
                found[record["system"]][task.id] = record
                files[record["system"]].write(json.dumps(record, ensure_ascii=False) + "\n")
                files[record["system"]].flush()
            for name in task.takes:
                if task.id not in found[name]:
                    found[name][task.id] = kept[name][task.id]
            progress("clips", (done + 1) / len(tasks))
    for system in systems:
        records = [found[system.name][clip] for clip in sorted(found[system.name])]
        system.records = [record for record in records if "failed" not in record]
        system.failed = [record for record in records if "failed" in record]


def read_records(path: Path) -> dict[str, Record]:
    """The last good record of each clip. A line that was cut off when a run was stopped is measured again."""
    records: dict[str, Record] = {}
    if not path.exists():
        return records
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "key" in record and "scores" in record:
            record["scores"] = {name: s for name, s in record["scores"].items() if name in CLIP_METRICS}
            records[record["id"]] = record
    return records


def worked(tasks: list[Task], workers: int | None) -> Iterator[tuple[Task, list[Record]]]:
    """Tasks with their records, in the order in which they are finished."""
    count = min(workers or min(os.cpu_count() or 1, 8), max(1, len(tasks)))
    if count == 1:
        for task in tasks:
            yield task, work(task)
        return
    waiting: dict[Future[list[Record]], Task] = {}
    rest = iter(tasks)
    with one_thread_each(), ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            for task in rest:
                waiting[pool.submit(work, task)] = task
                if len(waiting) >= 2 * count:
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Workers share the cores: each gets one thread for its arithmetic, told by its environment."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


# ------------------------------------------------------------------------------------ sums


def compare_sets(report: Report, cache: Path) -> None:
    """fd-logmel and kad-logmel over the pairs of each system."""
    wanted = [d.id for d in report.definitions if d.id in ("fd-logmel/208", "kad-logmel/208")]
    for system in report.systems if wanted else []:
        rows = [r["hashes"] for r in system.records if r["hashes"]["true"] and r["hashes"]["take"][0]]
        rows = [h for h in rows if feature_path(cache, h["true"][0]).exists()]
        if len(rows) < 2:
            for name in wanted:
                system.unscored[name] = {"fewer than two pairs": len(rows)}
            continue
        made, true = (np.array([np.load(feature_path(cache, h[side][0])) for h in rows]) for side in ("take", "true"))
        made, true = standardised(made, true)
        for name in wanted:
            if name == "fd-logmel/208":
                system.values[name] = {"value": sets.frechet(made, true), "n": len(rows)}
            else:
                width = sets.median_distance(true)
                value = sets.kernel_audio_distance(made, true, width) if width > 0 else float("nan")
                system.values[name] = {"value": value, "n": len(rows), "bandwidth": width}
        if warning := small_set(len(rows), DIMENSION):
            system.warnings.append(f"{', '.join(wanted)}: {warning}")


def summarise(report: Report) -> None:
    """Means, nulls and comparisons from the records."""
    for system in report.systems:
        for definition in report.definitions:
            name = definition.id
            if definition.kind == "set":
                continue
            scores = [record["scores"][name] for record in system.records if name in record["scores"]]
            values = [score["value"] for score in scores if score["value"] is not None]
            reasons: dict[str, int] = {}
            for score in scores:
                if score["value"] is None:
                    reasons[score["why"]] = reasons.get(score["why"], 0) + 1
            if reasons:
                system.unscored[name] = reasons
            if values:
                system.means[name] = bootstrap(values)
            if definition.null and (null := null_of(scores)) is not None:
                system.nulls[name] = null
    for definition in report.definitions:
        if definition.kind == "clip" and len(report.systems) > 1 and definition.direction != "description":
            pairs = compared(report.systems, definition.id)
            if pairs:
                report.comparisons[definition.id] = pairs


def null_of(scores: list[Score]) -> dict[str, float | None] | None:
    """Of clips that have a null: its mean, mean excess of the score over it with 95 % interval, z of the mean."""
    scores = [score for score in scores if score.get("null") is not None]
    if not scores:
        return None
    excess = bootstrap([score["value"] - score["null"] for score in scores])
    spread = float(np.sqrt(np.sum([score["null_deviation"] ** 2 for score in scores]))) / len(scores)
    return {
        "null": float(np.mean([score["null"] for score in scores])),
        "excess": excess.mean,
        "excess_low": excess.low,
        "excess_high": excess.high,
        "z": excess.mean / spread if spread > 0 else None,
    }


def compared(systems: list[System], definition: str) -> dict[tuple[str, str], Difference]:
    """Every pair of systems on the clips that both have, p values adjusted together."""
    pairs: dict[tuple[str, str], Difference] = {}
    for i, first in enumerate(systems):
        for second in systems[i + 1 :]:
            a, b = first.column(definition), second.column(definition)
            shared = sorted(a.keys() & b.keys())
            if shared:
                pairs[first.name, second.name] = paired([a[s] for s in shared], [b[s] for s in shared])
    tested = {names: d.p for names, d in pairs.items() if d.p is not None}
    for names, p in zip(tested, holm(list(tested.values())), strict=True):
        d = pairs[names]
        pairs[names] = Difference(d.n, d.mean, d.low, d.high, d.p, p)
    return pairs


def write_records(report: Report, folder: Path) -> None:
    """The records once more, one line per clip, sorted; and summary.json."""
    for system in report.systems:
        lines = [json.dumps(record, ensure_ascii=False) for record in [*system.records, *system.failed]]
        with written_beside(folder / f"{system.name}.jsonl") as part:
            part.write_text("".join(line + "\n" for line in lines))
    with written_beside(folder / "summary.json") as part:
        part.write_text(json.dumps(report.summary(), indent=1, ensure_ascii=False) + "\n")
