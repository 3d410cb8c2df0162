"""pocket's films for sounds, with the weights of the package, on sounds of the stage that no training heard."""

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from synchresis.data.stage import film
from synchresis.encoders.motion import SIDE
from synchresis.encoders.watcher import pick, view_grids, watched_of
from synchresis.errors import BadInputError
from synchresis.media import SoundWriter
from synchresis.systems.packaged import WEIGHTS, packaged_watcher
from synchresis.systems.picturing import PictureRequest, frame_count, load_picture
from synchresis.systems.pocket_picture import PARTS, PocketPicture
from synchresis.timeline import Span
from synchresis.timeline.files import write_onsets
from synchresis.timeline.onsets import Onsets, f1, shift_null

FIRST_SEED = 800_000
TOLERANCE = 0.1


@pytest.fixture(scope="module")
def pocket() -> PocketPicture:
    system = load_picture("pocket", device="cpu")
    assert isinstance(system, PocketPicture)
    return system


def saved(path: Path, samples: np.ndarray, rate: int = 32_000) -> Path:
    with SoundWriter(path, rate) as writer:
        writer.write(samples)
    return path


def sound_of(kind: str, seconds: float, number: int = 0) -> np.ndarray:
    return film(FIRST_SEED + number, seconds=seconds, kinds=[kind], ugly=False).sound.values


def pictured(pocket: PocketPicture, path: Path, **wishes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Frames [n, height, width, 3], and the onsets that were heard."""
    plan = pocket.prepare(path, PictureRequest(**wishes))
    return np.stack(list(pocket.pictures(plan))), plan.onsets.times


def contacts(frames: np.ndarray, fps: float = 25.0) -> np.ndarray:
    """When the watcher sees something strike; it looks 25 times a second, whatever the film's rate."""
    count = int(len(frames) / fps * 25)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    large = [cv2.resize(frame, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR) for frame in grey]
    times = [(i + 0.5) / 25 for i in range(count)]
    shown = [large[min(int(time * fps), len(large) - 1)] for time in times]
    return pick(watched_of(view_grids(zip(times, shown, strict=True)), packaged_watcher())).times


def agreement(seen: np.ndarray, heard: np.ndarray, seconds: float) -> tuple[float, float]:
    """F1, and what it is by chance."""

    def score(times: np.ndarray) -> float:
        return f1(times, heard, TOLERANCE)

    return score(seen), shift_null(score, seen, Span(0, Fraction(seconds)))[0]


def in_time(pocket: PocketPicture, folder: Path, kinds: list[str], films: int, seconds: float) -> np.ndarray:
    """Mean F1 and chance over films."""
    scores = []
    for kind in kinds:
        for number in range(films):
            path = saved(folder / "sound.wav", sound_of(kind, seconds, number))
            frames, heard = pictured(pocket, path, seed=number)
            scores.append(agreement(contacts(frames), heard, seconds))
    mean: np.ndarray = np.mean(scores, axis=0)
    return mean


def test_what_strikes_in_the_film_strikes_when_the_sound_does(pocket: PocketPicture, tmp_path: Path) -> None:
    score, chance = in_time(pocket, tmp_path, ["wood", "drum", "glass"], 1, 5.0)
    assert score >= 0.6
    assert score > chance + 0.2


@pytest.mark.slow
def test_films_of_every_kind_are_in_time(pocket: PocketPicture, tmp_path: Path) -> None:
    kinds = ["wood", "metal", "glass", "plastic", "drum", "bell", "clock", "bounce"]
    score, chance = in_time(pocket, tmp_path, kinds, 3, 5.0)
    assert score >= 0.6
    assert score > chance + 0.2


def test_a_sound_that_comes_later_is_a_film_that_comes_later(pocket: PocketPicture, tmp_path: Path) -> None:
    scores = []
    for number, kind in enumerate(("wood", "drum", "metal")):
        samples = sound_of(kind, 4.0, number)
        first, heard = pictured(pocket, saved(tmp_path / "first.wav", samples))
        later, heard_later = pictured(pocket, saved(tmp_path / "later.wav", np.pad(samples, (round(0.32 * 32_000), 0))))
        assert len(later) == len(first) + 8
        np.testing.assert_allclose(heard_later - 0.32, heard, atol=0.006)
        seen, seen_later = contacts(first), contacts(later)
        moved = seen_later - 0.32
        scores.append([f1(times, heard, TOLERANCE) for times in (moved, seen_later)] + [f1(moved, seen, TOLERANCE)])
        # The scene belongs to the sound and not to its place.
        assert np.abs(later[8].astype(int) - first[0]).mean() < 12
    against_sound, unmoved, against_film = np.mean(scores, axis=0)
    assert against_sound >= 0.6
    assert against_film >= 0.6
    assert unmoved < against_sound - 0.2


def test_onsets_that_a_person_gives_lead(pocket: PocketPicture, tmp_path: Path) -> None:
    """Over a sound of even hiss, in which nothing is heard to strike."""
    hiss = np.random.default_rng(5).normal(0, 0.05, 4 * 32_000).astype(np.float32)
    path, told = saved(tmp_path / "sound.wav", hiss), np.array([0.6, 1.4, 2.0, 3.1])
    write_onsets(tmp_path / "told.csv", Onsets(told, np.full(4, 0.9)))
    plan = pocket.prepare(path, PictureRequest(onsets=tmp_path / "told.csv", seed=2))
    assert plan.mode == "onsets"
    np.testing.assert_allclose(plan.onsets.times, told)
    score, chance = agreement(contacts(np.stack(list(pocket.pictures(plan)))), told, 4.0)
    assert score >= 0.6
    assert score > chance


def test_the_same_seed_is_the_same_film(pocket: PocketPicture, tmp_path: Path) -> None:
    path = saved(tmp_path / "sound.wav", sound_of("metal", 1.5))
    first, again, other = (pictured(pocket, path, seed=seed, steps=4)[0] for seed in (1, 1, 2))
    assert first.shape == (38, 128, 128, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(30000, 1001), Fraction(60)])
def test_any_frame_rate_shows_the_same_motion(pocket: PocketPicture, tmp_path: Path, fps: Fraction) -> None:
    path = saved(tmp_path / "sound.wav", sound_of("wood", 2.0))
    plain, _ = pictured(pocket, path, steps=4)
    frames, _ = pictured(pocket, path, fps=fps, steps=4)
    assert len(frames) == frame_count(Fraction(2), fps)
    for number in range(0, len(frames) - 3, 5):
        nearest = plain[min(round(number / fps * 25), len(plain) - 1)]
        assert np.abs(frames[number].astype(int) - nearest).mean() < 6
    assert np.ptp(plain.astype(int), axis=0).mean() > 1  # and there is motion


def test_size_is_a_wish(pocket: PocketPicture, tmp_path: Path) -> None:
    path = saved(tmp_path / "sound.wav", sound_of("wood", 1.0))
    small, _ = pictured(pocket, path, steps=4)
    large, _ = pictured(pocket, path, steps=4, width=240, height=192)
    assert large.shape == (25, 192, 240, 3)
    middle = cv2.resize(large[10][:, 24:216], (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(middle.astype(int) - small[10]).mean() < 3


def test_the_scene_stays_and_only_bodies_move(pocket: PocketPicture, tmp_path: Path) -> None:
    """Over the joints of the windows, too: no frame differs from its neighbour by more than a stroke does."""
    path = saved(tmp_path / "sound.wav", sound_of("wood", 9.0))
    frames, _ = pictured(pocket, path)
    assert len(frames) == 225
    steps = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))
    joints = steps[[79, 143, 207]]
    assert joints.max() <= steps.max()
    assert np.quantile(np.ptp(frames.astype(int), axis=0).max(-1), 0.25) <= 2


def test_a_scene_can_be_asked_for(pocket: PocketPicture, tmp_path: Path) -> None:
    """One sound, every kind of scene: other pictures, and the clock has its white face."""
    path = saved(tmp_path / "sound.wav", sound_of("wood", 1.0))
    shown = {}
    for kind in ("heard", "clock", "drum", "bounce"):
        frames, _ = pictured(pocket, path, steps=1, settings={"scene": kind})
        shown[kind] = frames[0].astype(int)
    for kind in ("drum", "bounce"):
        assert np.abs(shown[kind] - shown["clock"]).mean() > 10
    middle = shown["clock"][32:96, 32:96]
    assert np.median(middle) > 200 > np.median(shown["drum"][32:96, 32:96])


@pytest.mark.parametrize("what", ["silence", "hiss", "a click at the very end"])
def test_any_sound_gets_its_film(pocket: PocketPicture, tmp_path: Path, what: str) -> None:
    samples = np.zeros(32_000, np.float32)
    if what == "hiss":
        samples = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    elif what != "silence":
        samples[-40:] = 0.8
    plan = pocket.prepare(saved(tmp_path / "sound.wav", samples), PictureRequest(steps=2))
    assert len(list(pocket.pictures(plan))) == 25
    assert any("not what was recorded" in note for note in plan.notes)
    if not len(plan.onsets):
        assert any("no separate onset" in note for note in plan.notes)


@pytest.mark.parametrize("seconds", [0.02, 0.04, 3.19, 3.2, 3.21])
def test_any_length(pocket: PocketPicture, tmp_path: Path, seconds: float) -> None:
    path = saved(tmp_path / "sound.wav", sound_of("drum", 4.0)[: round(seconds * 32_000)])
    plan = pocket.prepare(path, PictureRequest(steps=1))
    assert len(list(pocket.pictures(plan))) == frame_count(plan.duration, plan.fps)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"prompt": "a drum"}, "--prompt"),
        ({"film": Path("some.mp4")}, "--film"),
        ({"width": 1024, "height": 1024}, "up to 512 pixels"),
        ({"width": 200, "height": 100}, "no wider than 1.25"),
        ({"settings": {"colour": "red"}}, "no setting"),
        ({"settings": {"scene": "harp"}}, "choose from heard, wood"),
        ({"fps": Fraction(25), "frames": 10}, "give one of them"),
        ({"steps": 0}, "0 steps are too few"),
        ({"guidance": float("nan")}, "finite"),
    ],
)
def test_what_pocket_cannot_do_is_refused(
    pocket: PocketPicture, tmp_path: Path, wish: dict[str, Any], said: str
) -> None:
    path = saved(tmp_path / "sound.wav", sound_of("wood", 1.0))
    with pytest.raises(BadInputError, match=said):
        pocket.prepare(path, PictureRequest(**wish))


def test_weights_are_a_folder_with_its_description(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"lacks layers.safetensors"):
        PocketPicture.load(tmp_path)
    for name in (*(f"{part}.safetensors" for part in PARTS), "system.json"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    assert PocketPicture.load(tmp_path, "cpu").weights_hash == PocketPicture.load(None, "cpu").weights_hash
    shutil.copy(tmp_path / "painter.safetensors", tmp_path / "mover.safetensors")
    with pytest.raises(BadInputError, match="do not fit"):
        PocketPicture.load(tmp_path)
    with pytest.raises(BadInputError, match="never untrained"):
        load_picture("pocket", untrained="small")


LONG = """
import resource, sys
from pathlib import Path
from synchresis.systems.picturing import PictureRequest
from synchresis.systems.pocket_picture import PocketPicture
pocket = PocketPicture.load(None, "cpu")
frames = sum(1 for _ in pocket.pictures(pocket.prepare(Path(sys.argv[1]), PictureRequest(steps=2))))
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    def peak(seconds: int) -> tuple[int, int]:
        samples = np.tile(sound_of("wood", 5.0), seconds // 5)
        path = saved(tmp_path / f"{seconds}.wav", samples)
        done = subprocess.run([sys.executable, "-c", LONG, path], capture_output=True, text=True, check=True)
        frames, memory = map(int, done.stdout.split())
        assert frames == 25 * seconds
        return frames, memory

    assert peak(60)[1] < 1.05 * peak(10)[1]
