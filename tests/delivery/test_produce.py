"""From a request to files: sound exactly as long as the picture, recipe and report beside it, nothing left over."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from arithmetic import RATE, ArithmeticPlan, ArithmeticSystem

from synchresis.delivery.outputs import SOUND_SUFFIXES, Outputs
from synchresis.delivery.picture import draw
from synchresis.delivery.produce import deliver, draft, make_take
from synchresis.errors import BadInputError, FailureError
from synchresis.media import frames, probe, read_sound
from synchresis.systems.request import Progress, SoundRequest, quiet
from synchresis.timeline import sample_count


def produced(system: ArithmeticSystem, film: Path, out: Path, original: str = "drop", picture: bool = False) -> Outputs:
    outputs = Outputs(out)
    with draft(system, probe(film), SoundRequest(seed=5), out.parent) as made:
        deliver(made, outputs, original, picture)
    return outputs


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_sound_files(arithmetic: ArithmeticSystem, film: Path, tmp_path: Path, suffix: str) -> None:
    outputs = produced(arithmetic, film, tmp_path / f"take{suffix}")
    sound = read_sound(outputs.take)
    assert len(sound.values) == round(2.4 * RATE)
    plan = arithmetic.prepare(probe(film), SoundRequest(seed=5))
    expected = np.concatenate(list(arithmetic.stream(plan)))
    assert np.abs(sound.values - expected).max() < 2**-22  # 24 bits
    assert {path.name for path in tmp_path.iterdir()} == {"take.recipe.json", "take.report.json", f"take{suffix}"}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_films(arithmetic: ArithmeticSystem, film: Path, tmp_path: Path, suffix: str) -> None:
    outputs = produced(arithmetic, film, tmp_path / f"take{suffix}")
    clip = probe(outputs.take)
    assert clip.duration == probe(film).duration
    assert len(clip.audio) == 1
    sound = read_sound(outputs.take, RATE, mono=True).values
    assert len(sound) == round(2.4 * RATE)
    report = json.loads(outputs.report.read_text())
    assert report["alignment"]["told"] == 3
    assert report["alignment"]["within_60_ms"]["f1"] == 1.0
    assert report["loudness_following"]["correlation"] > 0.9


def test_the_clips_own_sound_can_be_kept(arithmetic: ArithmeticSystem, film: Path, tmp_path: Path) -> None:
    outputs = produced(arithmetic, film, tmp_path / "take.mp4", original="keep")
    assert len(probe(outputs.take).audio) == 2
    assert json.loads(outputs.recipe.read_text())["delivery"] == {"suffix": ".mp4", "original": "keep"}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp4", ".mov", ".mkv"])
def test_same_request_same_bytes(arithmetic: ArithmeticSystem, film: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = produced(arithmetic, film, tmp_path / "one" / f"take{suffix}", picture=suffix == ".mp4")
    second = produced(arithmetic, film, tmp_path / "two" / f"take{suffix}", picture=suffix == ".mp4")
    assert first.take.read_bytes() == second.take.read_bytes()
    assert first.recipe.read_bytes() == second.recipe.read_bytes()
    assert first.report.read_bytes() == second.report.read_bytes()
    if suffix == ".mp4":
        assert first.picture.read_bytes() == second.picture.read_bytes()


def test_a_take_in_python_is_the_take_of_the_command_line(
    arithmetic: ArithmeticSystem, film: Path, tmp_path: Path
) -> None:
    take = make_take(arithmetic, film, SoundRequest(seed=5))
    assert take.samples.shape == (round(2.4 * RATE), 1)
    assert (take.samples.dtype, take.rate) == (np.float32, RATE)
    saved = take.save(tmp_path / "python" / "take.mp4")
    outputs = produced(arithmetic, film, tmp_path / "take.mp4")
    assert saved.read_bytes() == outputs.take.read_bytes()
    assert Outputs(saved).recipe.read_text() == outputs.recipe.read_text()
    assert json.loads(outputs.report.read_text()) == take.report
    with pytest.raises(BadInputError, match="is there already"):
        take.save(saved)
    take.save(saved, overwrite=True, original="keep")
    assert len(probe(saved).audio) == 2
    with pytest.raises(BadInputError, match="suffix"):
        take.save(tmp_path / "take.mp3")
    with pytest.raises(BadInputError, match="needs a film"):
        take.save(tmp_path / "take.wav", original="mix")


def test_a_sound_of_wrong_length_or_without_numbers_is_a_failure(
    arithmetic: ArithmeticSystem, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for blocks, word in [
        ([np.zeros((100, 1), np.float32)], "100 samples where the picture has 115200"),
        ([np.full((100, 1), np.nan, np.float32)], "no numbers"),
        ([], "no sound"),
    ]:
        monkeypatch.setattr(arithmetic, "stream", lambda plan, progress, blocks=blocks: iter(blocks))
        with pytest.raises(FailureError, match=word):
            make_take(arithmetic, film, SoundRequest())
        with pytest.raises(FailureError, match=word):
            produced(arithmetic, film, tmp_path / "take.wav")
    assert list(tmp_path.iterdir()) == []


def test_picture_shows_the_onsets_in_their_places(arithmetic: ArithmeticSystem, film: Path, tmp_path: Path) -> None:
    with draft(arithmetic, probe(film), SoundRequest(), tmp_path) as made:
        bare = ArithmeticPlan("onsets", made.plan.duration, None, made.plan.told, 0)
        pixels = []
        for name, plan in [("marked.png", made.plan), ("bare.png", bare)]:
            draw(tmp_path / name, made.clip, plan, made.sound, made.measured)
            ((_, drawn),) = frames(tmp_path / name, times=[0])
            pixels.append(drawn.astype(int))
    differs = np.flatnonzero(np.abs(pixels[0] - pixels[1]).max(axis=(0, 2)) > 40)
    groups = [float(group.mean()) for group in np.split(differs, np.flatnonzero(np.diff(differs) > 5) + 1)]
    assert len(groups) == 3
    # 0.4, 1.1 and 1.8 s of 2.4 s: equally far from one another, in an axis that fills most of the width.
    assert groups[1] - groups[0] == pytest.approx(groups[2] - groups[1], abs=2)
    assert groups[1] - groups[0] == pytest.approx(0.7 / 2.4 * 0.94 * pixels[0].shape[1], rel=0.04)


def test_picture_of_silence_and_of_a_clip_without_picture(
    arithmetic: ArithmeticSystem, film: Path, tmp_path: Path
) -> None:
    with draft(arithmetic, probe(film), SoundRequest(prompt="silence"), tmp_path) as made:
        assert made.report["notes"] == ["nothing sounds here"]
        draw(tmp_path / "silence.png", made.clip, made.plan, made.sound, made.measured)
        draw(tmp_path / "sound.png", probe(made.sound), made.plan, made.sound, made.measured)
    with_strip, without = (probe(tmp_path / name).video for name in ("silence.png", "sound.png"))
    assert with_strip is not None
    assert without is not None
    assert with_strip.height > without.height


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (16000, 1)])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp4", ".mov", ".mkv"])
def test_the_rates_of_the_published_systems(film: Path, tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    system = ArithmeticSystem(rate=rate, channels=channels)
    outputs = produced(system, film, tmp_path / f"take{suffix}", picture=True)
    clip = probe(outputs.take)
    audio = clip.audio[0]
    assert (audio.rate, audio.channels) == (rate, channels)
    assert len(read_sound(outputs.take).values) == sample_count(clip.duration, audio.rate)
    if suffix not in SOUND_SUFFIXES:
        assert clip.duration == probe(film).duration
    report = json.loads(outputs.report.read_text())
    assert report["timing"] == {
        "picture_seconds": 2.4,
        "sound_seconds": 2.4,
        "samples": round(2.4 * rate),
        "rate": rate,
        "channels": channels,
    }
    assert report["alignment"]["within_60_ms"]["f1"] == 1.0
    assert report["loudness_following"]["correlation"] > 0.9
    assert outputs.picture.stat().st_size > 10_000


@pytest.mark.parametrize("suffix", [".wav", ".mkv", ".mp4"])
def test_a_sound_that_would_clip_is_turned_down_as_a_whole(film: Path, tmp_path: Path, suffix: str) -> None:
    system, loud = ArithmeticSystem(rate=44100, channels=2), ArithmeticSystem(rate=44100, channels=2, gain=30.0)
    outputs = produced(loud, film, tmp_path / f"take{suffix}")
    sound = read_sound(outputs.take).values
    plan = loud.prepare(probe(film), SoundRequest(seed=5))
    wanted = np.concatenate(list(loud.stream(plan)))
    report = json.loads(outputs.report.read_text())
    (note,) = report["notes"]
    found = re.fullmatch(r"turned down by (\d+\.\d) dB so that it does not clip", note)
    assert found
    # Of white noise the samples reach higher than the curve through those of them that 48 kHz keeps.
    peaks = report["level"]["sample_peak_dbfs"], report["level"]["true_peak_dbtp"]
    assert max(peaks) == pytest.approx(-1.0, abs=0.001)
    assert report["level"]["clipped_samples"] == 0
    if suffix != ".mp4":  # no AAC in between: the same sound but for one gain
        gain = float((sound * wanted).sum() / np.square(wanted).sum())
        assert -20 * np.log10(gain) == pytest.approx(float(found[1]), abs=0.06)
        assert np.abs(sound - gain * wanted).max() < 2**-15
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    quiet = produced(system, film, tmp_path / "quiet.wav")  # never turned up
    assert json.loads(quiet.report.read_text())["notes"] == []
    plan = system.prepare(probe(film), SoundRequest(seed=5))
    assert np.abs(read_sound(quiet.take).values - np.concatenate(list(system.stream(plan)))).max() < 2**-22


def test_a_peak_between_samples_counts(film: Path, tmp_path: Path) -> None:
    class Between(ArithmeticSystem):
        """A sine at a quarter of the rate, whose samples are all 0.75 of its peak times the root of two."""

        def stream(self, plan: ArithmeticPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
            total = sample_count(plan.duration, plan.rate)
            yield (1.3 * np.sin(np.pi / 2 * np.arange(total) + np.pi / 4)).astype(np.float32)[:, None]

    outputs = produced(Between(), film, tmp_path / "take.wav")
    level = json.loads(outputs.report.read_text())["level"]
    assert level["true_peak_dbtp"] == pytest.approx(-1.0, abs=0.1)
    assert level["sample_peak_dbfs"] == pytest.approx(-4.0, abs=0.2)


def test_noise_says_that_it_is_noise(film: Path, tmp_path: Path) -> None:
    outputs = produced(ArithmeticSystem(untrained="small"), film, tmp_path / "take.wav")
    assert json.loads(outputs.report.read_text())["notes"] == ["arithmetic is untrained (small): this is noise"]
    assert json.loads(outputs.recipe.read_text())["system"]["untrained"] == "small"
