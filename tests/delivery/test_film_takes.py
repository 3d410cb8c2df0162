"""Films for sounds: what is written, how long, with which sound, and how it is measured."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from synchresis.delivery.film import make_film, sounds_in
from synchresis.delivery.film_recipe import read_recipe
from synchresis.delivery.outputs import Outputs
from synchresis.errors import BadInputError, FailureError
from synchresis.media import SoundWriter, frames, probe, read_sound, write_film
from synchresis.systems.picturing import PictureRequest, frame_count, probe_sound
from synchresis.systems.published import picture_sound
from synchresis.systems.request import Progress, quiet
from synchresis.timeline import Onsets, detect_onsets

RATE = 16_000
HITS = (0.4, 1.0, 1.5, 2.2)
SECONDS = 2.62  # 65.5 frames at 25 a second
TEXTURE = np.random.default_rng(1).integers(150, 255, (30, 30, 3), dtype=np.uint8)


@dataclass(frozen=True)
class BallPlan:
    duration: Fraction
    fps: Fraction
    onsets: Onsets
    late: float
    missing: int
    mode: str = "sound"
    notes: list[str] = field(default_factory=list)


class Ball:
    """A white square that jumps at every onset of the sound, `late` seconds late."""

    name = "ball"
    weights_hash = "0" * 64
    device = "cpu"
    untrained: str | None = None
    key_report: str | None = None
    picture = picture_sound

    def prepare(self, sound: Path, request: PictureRequest, progress: Progress = quiet) -> BallPlan:
        request.serve_only(self.name, "fps", "frames")
        clip = probe_sound(sound)
        onsets = detect_onsets(read_sound(clip, mono=True))
        told = request.settings
        fps = request.rate(clip.duration, Fraction(25))
        return BallPlan(clip.duration, fps, onsets, float(told.get("late", 0)), int(told.get("missing", 0)))

    def pictures(self, plan: BallPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        ground = rng.integers(60, 110, (96, 128, 3), dtype=np.uint8)
        for i in range(frame_count(plan.duration, plan.fps) - plan.missing):
            jumps = int((plan.onsets.times + plan.late <= i / plan.fps).sum())
            picture = ground.copy()
            left = 20 + 12 * (jumps % 2)
            picture[30:60, left : left + 30] = TEXTURE
            yield picture


@pytest.fixture
def hits(tmp_path: Path) -> Path:
    """Short noises at HITS, 16 bit stereo."""
    samples = np.zeros((round(SECONDS * RATE), 2), np.float32)
    rng = np.random.default_rng(2)
    for time in HITS:
        at = round(time * RATE)
        samples[at : at + 1600] += 0.5 * (rng.normal(size=(1600, 2)) * np.exp(-np.arange(1600) / 300)[:, None])
    with SoundWriter(tmp_path / "hits.wav", RATE, 2, "PCM_16") as writer:
        writer.write(samples.clip(-1, 1))
    return tmp_path / "hits.wav"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_a_film_is_as_long_as_its_sound_and_holds_it(hits: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"film{suffix}"
    report = Ball().picture(hits, out)
    made = probe(out)
    assert made.video is not None
    assert made.video.frames == frame_count(Fraction(report["timing"]["sound_seconds"]).limit_denominator(1000), 25)
    assert made.video.frames == 66
    sound = read_sound(out)
    assert sound.rate == RATE
    source = read_sound(hits)
    if suffix == ".mkv":
        assert report["sound"]["how"] == "samples unchanged"
        assert np.array_equal(sound.values, source.values)
    else:
        assert made.audio[0].codec == "aac"
        assert len(sound.values) == len(source.values)
        assert np.corrcoef(sound.values[:, 0], source.values[:, 0])[0, 1] > 0.95
    for beside in (".recipe.json", ".report.json", ".png"):
        assert out.with_suffix(beside).stat().st_size > 100
    assert json.loads(out.with_suffix(".report.json").read_text()) == report
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_film_in_time_is_told_from_one_that_is_late(hits: Path, tmp_path: Path) -> None:
    good = Ball().picture(hits, tmp_path / "good.mp4")["av_align"]
    late = Ball().picture(hits, tmp_path / "late.mp4", settings={"late": 0.25})["av_align"]
    assert good["onsets_of_sound"] >= len(HITS)
    assert good["value"] > good["null"]["mean"] + 2 * good["null"]["deviation"]
    assert late["value"] < good["value"] / 2


def test_the_recipe_makes_the_same_film(hits: Path, tmp_path: Path) -> None:
    system, first, again = Ball(), Outputs(tmp_path / "a.mkv"), Outputs(tmp_path / "b.mkv")
    make_film(system, hits, PictureRequest(fps=Fraction(30000, 1001), settings={"late": "0.1"}), first)
    recipe = read_recipe(first.recipe)
    assert recipe.request == PictureRequest(fps=Fraction(30000, 1001), settings={"late": "0.1"})
    assert recipe.sound == hits
    assert recipe.differences == []
    recipe.check_system(system)
    make_film(system, recipe.sound, recipe.request, again)
    assert first.take.read_bytes() == again.take.read_bytes()
    assert first.report.read_bytes() == again.report.read_bytes()
    assert first.picture.read_bytes() == again.picture.read_bytes()
    system.weights_hash = "1" * 64
    with pytest.raises(BadInputError, match="other weights"):
        recipe.check_system(system)
    hits.write_bytes(hits.read_bytes() + b"x")
    with pytest.raises(BadInputError, match="bytes differ"):
        read_recipe(first.recipe)


def test_a_sound_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.recipe.json").write_text('{"format": 1, "clip": {}}')
    with pytest.raises(BadInputError, match="synchresis sound"):
        read_recipe(tmp_path / "a.recipe.json")


def test_frames_are_spread_over_the_sound(hits: Path, tmp_path: Path) -> None:
    report = Ball().picture(hits, tmp_path / "few.mp4", frames=24)
    assert report["timing"]["frames"] == 24
    assert sum(1 for _ in frames(tmp_path / "few.mp4")) == 24


def test_too_few_frames_are_a_failure_and_leave_nothing(hits: Path, tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="made 64 frames where the sound has room for 66"):
        Ball().picture(hits, tmp_path / "short.mp4", settings={"missing": 2})
    assert not (tmp_path / "short.mp4").exists()


def test_what_cannot_be_served_is_named(hits: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="ball cannot be told --prompt, --film-weight"):
        Ball().picture(hits, tmp_path / "a.mp4", prompt="a dog", film_weight=0.3)
    with pytest.raises(BadInputError, match="give one of them"):
        Ball().picture(hits, tmp_path / "a.mp4", fps=25, frames=3)
    with pytest.raises(BadInputError, match=r"known are \.mp4"):
        Ball().picture(hits, tmp_path / "a.webm")
    silent = tmp_path / "silent.mp4"
    write_film(silent, [np.zeros((32, 32, 3), np.uint8)] * 3, 25)
    with pytest.raises(BadInputError, match="no sound"):
        Ball().picture(silent, tmp_path / "a.mp4")


def test_a_folder_means_its_sounds(hits: Path, tmp_path: Path) -> None:
    (tmp_path / "old.synchresis.wav").write_bytes(b"")
    (tmp_path / "text.txt").write_text("")
    assert sounds_in([tmp_path, Path("other.flac")]) == [hits, Path("other.flac")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no sound in this folder"):
        sounds_in([tmp_path / "empty"])
