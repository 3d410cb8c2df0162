"""Sounds that are early or late: what falls, and what tells the sign. The published table of real systems."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from synchresis.data.stage import film
from synchresis.evaluation import alignment, evaluate
from synchresis.evaluation.clips import Files, Material
from synchresis.evaluation.measure import Pair, measure
from synchresis.media import SoundWriter
from synchresis.timeline import sample_count

DEMO = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[2] / ".." / "shared")) / "media/sta_v2a_demo"
OFFSETS = (-0.5, -0.3, -0.15, -0.05, 0.0, 0.05, 0.15, 0.3, 0.5)
IDS = [
    "aa-align/one-to-one",
    "onset-acc/condfoleygen",
    "onset-f1/50ms",
    "envelope-correlation/100hz",
    "onset-lag/strength",
    "envelope-lag/100hz",
]


def moved(wave: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """The wave later by so many seconds, silence where nothing is, of the same length."""
    n = sample_count(abs(seconds), rate)
    if not n:
        return wave
    silence = np.zeros(n, wave.dtype)
    return np.concatenate([silence, wave[:-n]]) if seconds > 0 else np.concatenate([wave[n:], silence])


def test_injected_offsets_are_measured(tmp_path: Path) -> None:
    """Films of the stage with separate strikes: over the pairs, scores fall and lags grow with |offset|, and the lag
    has the offset's sign and size."""
    found: dict[float, list[dict]] = {offset: [] for offset in OFFSETS}
    for seed in range(8):
        sound = film(seed, size=(64, 64), seconds=5.0, fps=25, kinds=("metal", "wood"), ugly=False).sound
        rate, wave = int(sound.rate), sound.values.reshape(-1)
        for offset in OFFSETS:
            path = tmp_path / f"{seed}_{offset}.wav"
            with SoundWriter(path, rate) as writer:
                writer.write(moved(wave, rate, offset))
        true = Material(Files(tmp_path / f"{seed}_0.0.wav", None))
        for offset in OFFSETS:
            take = Material(Files(tmp_path / f"{seed}_{offset}.wav", None))
            found[offset].append(measure(Pair(take, true), IDS))

    def mean(name: str, offset: float) -> float:
        return float(np.mean([scores[name]["value"] for scores in found[offset] if scores[name]["value"] is not None]))

    for name in IDS[:4]:
        for side in (1, -1):
            near, middle, far = (mean(name, side * size) for size in (0.0, 0.05, 0.3))
            assert near >= 0.999, name
            assert near >= middle > far, (name, side)
    for name in IDS[4:]:
        for side in (1, -1):
            sizes = [mean(name, side * size) for size in (0.0, 0.05, 0.15, 0.3, 0.5)]
            assert sizes == sorted(sizes), (name, side, sizes)
        for offset in OFFSETS:
            signed = [scores[name]["signed"] for scores in found[offset]]
            assert np.median(signed) == pytest.approx(offset, abs=0.03), (name, offset)


ROWS = [
    ("av-align/sta-v2a", "av_align"),
    ("av-align/2025", "av_align_one_to_one"),
    ("aa-align/sta-v2a", "aa_align"),
    ("aa-align/one-to-one", "aa_align_one_to_one"),
]


def demo_folders(tmp_path: Path) -> list[Path]:
    """One folder per system, the files linked."""
    if not DEMO.is_dir():
        pytest.skip(f"{DEMO} is not here")
    folders: dict[str, Path] = {}
    with (DEMO / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            folder = folders.setdefault(row["system_slug"], tmp_path / row["system_slug"])
            folder.mkdir(exist_ok=True)
            source = DEMO / row["file"]
            (folder / f"{row['clip_id']}{source.suffix}").symlink_to(source)
    return list(folders.values())


@pytest.mark.slow
def test_the_published_table_of_real_systems(tmp_path: Path) -> None:
    """All 42 rows of align_scores.csv: scores to the six places that are printed, shift nulls likewise."""
    folders = demo_folders(tmp_path)
    report = evaluate(folders, tmp_path / "gt", [name for name, _ in ROWS], out=tmp_path / "out", workers=2)
    records = {(s.name, r["id"]): r["scores"] for s in report.systems for r in s.records}
    with (DEMO / "align_scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(records) == len(table)
    for row in table:
        scores = records[row["system_slug"], row["clip_id"]]
        for name, column in ROWS:
            assert scores[name]["value"] == pytest.approx(float(row[column]), abs=1e-6), (row["clip_id"], name)
            null = float(row[f"{column}_shift"])
            assert scores[name]["null"] == pytest.approx(null, abs=1e-6), (row["clip_id"], name)


def test_the_onsets_of_real_systems(tmp_path: Path) -> None:
    """The part of the same table that needs no picture."""
    folders = {folder.name: folder for folder in demo_folders(tmp_path)}
    with (DEMO / "align_scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    true = {clip.stem: Material(Files(clip, None)).onsets for clip in folders["gt"].iterdir()}
    for row in table:
        (path,) = folders[row["system_slug"]].glob(f"{row['clip_id']}.*")
        times = Material(Files(path, None)).onsets
        assert len(times) == int(row["n_onsets"])
        for one_to_one, column in ((False, "aa_align"), (True, "aa_align_one_to_one")):
            score = alignment.aa_align(times, true[row["clip_id"]], 0.1, one_to_one)
            assert score == pytest.approx(float(row[column]), abs=1e-6)
