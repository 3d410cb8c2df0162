"""pocket with the weights of the package, on films that we render ourselves."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

import synchresis
from synchresis.data.stage import film
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.systems import pocket as module
from synchresis.systems.packaged import WEIGHTS
from synchresis.systems.pocket import Pocket
from synchresis.systems.request import SoundRequest
from synchresis.timeline import Onsets, Track, detect_onsets, rms_envelope, sample_count
from synchresis.timeline.files import read_onsets, write_envelope, write_onsets


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return synchresis.load("pocket", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a stick that strikes wood; made by the stage."""
    made = film(11, size=(96, 96), seconds=4.0, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("pocket") / "wood.mp4"
    write_film(path, made.frames, made.fps, None)
    return path


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a bit seconds, at 23.976 frames a second, in which nothing happens."""
    path = tmp_path_factory.mktemp("pocket") / "still.mp4"
    write_film(path, (np.full((64, 96, 3), 90, np.uint8) for _ in range(53)), Fraction(24000, 1001), None)
    return path


def heard(samples: np.ndarray) -> np.ndarray:
    return detect_onsets(Track(samples[:, 0], Fraction(48_000))).times


def test_weights_are_small_and_described() -> None:
    files = list(WEIGHTS.glob("*.safetensors"))
    assert {f.stem for f in files} == {"watcher", "codec", "generator", "layers", "painter", "mover"}
    assert sum(f.stat().st_size for f in files) < 36 * 2**20
    assert max(f.stat().st_size for f in files) < 16 * 2**20
    card = (WEIGHTS / "MODEL_CARD.md").read_text()
    assert "ESC-10" in card
    assert "CC BY 3.0" in card


def test_same_seed_same_bytes_and_another_seed_another_sound(pocket: Pocket, still: Path) -> None:
    first, again, other = (pocket.sound(still, prompt="rain", seed=s, steps=4).samples for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-3


def test_sound_is_exactly_as_long_as_the_picture(pocket: Pocket, still: Path) -> None:
    take = pocket.sound(still, prompt="sea waves", steps=2)
    assert take.rate == 48_000
    assert take.samples.shape == (sample_count(probe(still).duration, 48_000), 1)
    assert np.abs(take.samples).max() <= 1.0


def test_a_picture_in_which_nothing_sounds_leaves_it_to_the_prompt(pocket: Pocket, still: Path) -> None:
    take = pocket.sound(still, prompt="rain on a roof", steps=2)
    assert take.report["mode"] == "prompt"
    assert any("nothing that sounds" in note for note in take.report["notes"])
    assert rms_envelope(Track(take.samples, Fraction(48_000))).values.max() > 0.01


def test_moving_one_onset_moves_one_sound(pocket: Pocket, clip: Path, tmp_path: Path) -> None:
    """By 500 ms, within 50 ms; the other sounds stay within 20 ms."""
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    times = np.array([0.4, 1.2, 2.2, 3.3])
    write_onsets(before, Onsets(times, np.ones(4)))
    write_onsets(after, Onsets(np.array([0.4, 1.7, 2.2, 3.3]), np.ones(4)))
    one = heard(pocket.sound(clip, prompt="knocking on wood", onsets=before, seed=3).samples)
    two = heard(pocket.sound(clip, prompt="knocking on wood", onsets=after, seed=3).samples)
    assert len(one) == len(two) == 4
    moved = two - one
    assert abs(moved[1] - 0.5) <= 0.05
    assert np.abs(moved[[0, 2, 3]]).max() <= 0.02


def test_a_told_loudness_is_followed(pocket: Pocket, clip: Path, tmp_path: Path) -> None:
    """Also by a thing that would sound otherwise."""
    time = (np.arange(400) + 0.5) / 100
    told = Track((0.02 + 0.1 * np.abs(np.sin(3 * time)) * (time % 1 < 0.7)).astype(np.float32), Fraction(100))
    path = tmp_path / "told.csv"
    write_envelope(path, told)
    take = pocket.sound(clip, prompt="rain", envelope=path, steps=4)
    own = rms_envelope(Track(take.samples[:, 0], Fraction(48_000))).values
    assert np.corrcoef(own[:400], told.values)[0, 1] > 0.95
    assert take.report["loudness_following"]["correlation"] > 0.95


def test_a_recording_lends_its_loudness(pocket: Pocket, clip: Path, tmp_path: Path) -> None:
    """A vocal imitation: two bursts at 1 s and 3 s."""
    rate, voice = 22_050, np.zeros(4 * 22_050)
    for at in (1, 3):
        voice[at * rate : at * rate + rate // 4] = 0.3 * np.sin(np.arange(rate // 4) * 0.06)
    path = tmp_path / "voice.wav"
    soundfile.write(path, voice, rate)
    times = heard(pocket.sound(clip, prompt="a dog barks", envelope=path, steps=6).samples)
    assert any(abs(times - 1.0) < 0.06)
    assert any(abs(times - 3.0) < 0.06)


def test_what_watch_writes_can_be_given_back(pocket: Pocket, clip: Path, tmp_path: Path) -> None:
    onsets, envelope, _ = pocket.watch(probe(clip))
    assert len(onsets) >= 1
    path = tmp_path / "onsets.mid"
    write_onsets(path, onsets)
    back = read_onsets(path)
    assert np.array_equal(back.times, onsets.times)
    assert np.array_equal(back.strengths, onsets.strengths)
    assert len(envelope.values) == 400


def test_pieces_do_not_change_the_sound(pocket: Pocket, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding four seconds in three chunks gives what one chunk gives."""
    plan = pocket.prepare(probe(clip), SoundRequest(prompt="wood", seed=5, steps=2))
    whole = np.concatenate(list(pocket.stream(plan)))
    monkeypatch.setattr(module, "CHUNK", 40)
    pieces = np.concatenate(list(pocket.stream(plan)))
    assert whole.shape == pieces.shape
    assert np.abs(whole - pieces).max() < 2e-3 * np.abs(whole).max()


def test_a_reference_moves_the_spectrum(pocket: Pocket, still: Path, tmp_path: Path) -> None:
    """Low noise and high noise as references: the takes differ in the same sense."""
    noise = np.random.default_rng(0).standard_normal(96_000)
    low = np.convolve(noise, np.ones(60) / 60, mode="same")
    high = np.diff(noise, prepend=0.0)
    centres = []
    for name, sound in (("low", low), ("high", high)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, 0.2 * sound / np.abs(sound).max(), 32_000)
        spectrum = np.abs(np.fft.rfft(pocket.sound(still, like=path, seed=1).samples[:, 0])) ** 2
        centres.append(float((np.arange(len(spectrum)) * spectrum).sum() / spectrum.sum()))
    assert centres[0] < 0.7 * centres[1]


def test_a_silent_reference_and_strange_words(pocket: Pocket, still: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 32_000)
    with pytest.raises(BadInputError, match="silent"):
        pocket.sound(still, like=silent)
    notes = pocket.sound(still, prompt="xylqqz", steps=1).report["notes"]
    assert any("xylqqz" in note for note in notes)


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="lacks"):
        synchresis.load("pocket", weights=tmp_path)
