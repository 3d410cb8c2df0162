from fractions import Fraction

import numpy as np
import pytest
from corpus import FILMS, NAMES, Film, number_of, render, steady

from synchresis.errors import BadInputError
from synchresis.media import frames, probe, write_film
from synchresis.timeline import Span


def clock(path):
    """Matroska and WebM count milliseconds."""
    return 0.001 if path.suffix in (".mkv", ".webm") else 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_comes_once_at_its_time(corpus, name):
    path, times, first = corpus(name)
    seen = [(number_of(picture), time) for time, picture in frames(path)]
    assert [number - first for number, _ in seen] == list(range(len(times) - 1))
    assert [time for _, time in seen] == pytest.approx(times[:-1], abs=clock(path))


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(8), Fraction(240)])
@pytest.mark.parametrize("name", NAMES)
def test_the_nearest_frame_is_given(corpus, name, rate):
    path, times, first = corpus(name)
    starts = np.array(times[:-1])
    seen = list(frames(path, rate=rate, size=(32, 48)))
    assert len(seen) == -int(-probe(path).duration * rate // 1)
    for i, (time, picture) in enumerate(seen):
        asked = float((i + Fraction(1, 2)) / rate)
        true = starts[number_of(picture) - first]
        assert abs(true - asked) <= np.abs(starts - asked).min() + 2 * clock(path)
        assert time == pytest.approx(true, abs=clock(path))
        assert picture.shape == (32, 48, 3)


@pytest.mark.parametrize("name", [name for name in FILMS if name.startswith("rate")])
def test_the_error_is_at_most_half_a_source_frame(corpus, name):
    path, times, _ = corpus(name)
    asked = np.random.default_rng(0).uniform(0, times[-2], 40)
    asked.sort()
    for t, (time, _) in zip(asked, frames(path, times=asked), strict=True):
        assert abs(time - t) <= (times[1] - times[0]) / 2 + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_probe_tells_the_truth(corpus, name):
    path, times, _ = corpus(name)
    clip = probe(path)
    assert float(clip.duration) == pytest.approx(times[-1], abs=2 * clock(path))
    assert clip.video.frames == len(times) - 1
    film = FILMS.get(name, Film([]))
    assert (clip.video.height, clip.video.width) == film.size
    assert clip.video.rotation == film.rotation
    assert clip.video.pixel_format == film.pixels
    assert clip.chapters == len(film.chapters)
    assert clip.subtitles == bool(film.subtitles)
    assert {key.lower(): value for key, value in clip.tags.items()}.items() >= film.tags.items()
    if name.startswith("rate"):
        assert float(clip.video.fps) == pytest.approx(1 / (times[1] - times[0]))
    for info, sound in zip(clip.audio, film.sounds, strict=False):
        assert (info.rate, info.channels) == (48000, sound.samples().shape[1])
        # AAC is coded in frames of 1024 samples, and its lead-in is only hidden at the start of a file. AVI
        # gives the first picture of a film with B-frames one frame late.
        slack = 1024 / 48000 if sound.codec == "aac" else 1 / 25 if path.suffix == ".avi" else 0.003
        assert float(info.start) == pytest.approx(float(sound.start - film.times[0]), abs=slack + 0.001)
        assert float(info.duration) == pytest.approx(float(sound.seconds), abs=slack + 0.001)
        if path.suffix not in (".avi", ".mov"):
            assert info.language == sound.language


def test_rotated_frames_are_squeezed_after_turning(corpus):
    path, _, _ = corpus("rotation 90")
    clip = probe(path)
    assert (clip.video.coded_height, clip.video.coded_width) == (64, 48)
    _, picture = next(iter(frames(clip, size=(20, 90))))
    assert picture.shape == (20, 90, 3)
    assert number_of(picture) == 0


def test_gray_frames(corpus):
    _, picture = next(iter(frames(corpus("rate 25.00")[0], gray=True)))
    assert picture.shape == (48, 64)
    assert picture.dtype == np.uint8
    assert number_of(picture) == 0


def test_a_span_holds_its_frames_only(corpus):
    path, _, _ = corpus("rate 25.00")
    span = Span(Fraction(1, 2), Fraction(1))
    assert [number_of(picture) for _, picture in frames(path, span=span)] == list(range(13, 25))
    seen = [time for time, _ in frames(path, rate=10, span=span)]
    assert seen == pytest.approx([0.56, 0.64, 0.76, 0.84, 0.96], abs=0.021)
    assert len(seen) == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_far_times_are_found_as_well_as_near_ones(tmp_path, suffix):
    path = render(tmp_path / "long", Film(steady(12, 30), suffix=suffix, options={"g": "24"}))
    clip = probe(path)
    for t in (7.3, 19.99, 29.9):
        (time, picture), *_ = frames(clip, times=[t])
        assert abs(time - t) <= 1 / 24 + 0.001
        assert number_of(picture) == round(time * 12)
    late = Span(Fraction(20), Fraction(21))
    assert [number_of(picture) for _, picture in frames(clip, span=late)] == list(range(240, 252))


def test_a_repeated_frame_may_be_written_into(corpus):
    """Each picture is an array of its own."""
    seen = []
    for _, picture in frames(corpus("one frame")[0], times=[0, 0.01, 0.02]):
        seen.append(number_of(picture))
        picture[:] = 0
    assert seen == [0, 0, 0]


def test_times_must_increase_and_a_rate_stands_alone(corpus):
    path, _, _ = corpus("no sound")
    with pytest.raises(ValueError, match="increase"):
        list(frames(path, times=[0.5, 0.2]))
    with pytest.raises(ValueError, match="not both"):
        list(frames(path, times=[0.5], rate=25))
    assert list(frames(path, times=[])) == []


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_written_film_is_read_back(tmp_path, size):
    from corpus import pattern

    path = tmp_path / "film.mp4"
    write_film(path, (pattern(n, *size) for n in range(30)), "30000/1001", tags={"title": "Blocks"})
    clip = probe(path)
    assert clip.duration == Fraction(1001, 1000)
    assert clip.tags["title"] == "Blocks"
    assert (clip.video.height, clip.video.width) == (48, 64)
    assert [number_of(picture) for _, picture in frames(clip)] == list(range(30))
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_needs_frames_and_a_known_name(tmp_path):
    with pytest.raises(BadInputError, match="at least one frame"):
        write_film(tmp_path / "none.mp4", [], 25)
    with pytest.raises(BadInputError, match="written as"):
        write_film(tmp_path / "none.gif", [np.zeros((8, 8, 3), np.uint8)], 25)
    assert not list(tmp_path.iterdir())
