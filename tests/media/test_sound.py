from fractions import Fraction

import numpy as np
import pytest
from corpus import FILMS, Film, Sound, lag, render, steady

from synchresis.errors import BadInputError
from synchresis.media import SoundWriter, probe, read_loudness, read_sound, stream_sound
from synchresis.timeline import Span, sample_count
from synchresis.timeline.envelope import rms_envelope
from synchresis.timeline.files import write_envelope

HEARD = [name for name, film in FILMS.items() if film.sounds]


@pytest.mark.parametrize("name", HEARD)
def test_sound_lies_where_it_should(corpus, name):
    path, _, _ = corpus(name)
    film = FILMS[name]
    clip = probe(path)
    for track, sound in enumerate(film.sounds):
        heard = read_sound(clip, track=track)
        true = sound.samples()[:, 0]
        # What comes before the picture is cut, a late start is silence; AVI gives no B-frame its time.
        shift = round((sound.start - clip.origin) * 48000)
        assert lag(heard.values[:, 0], true) == pytest.approx(shift, abs=1)
        assert (heard.start, heard.rate) == (0, 48000)


@pytest.mark.parametrize("name", HEARD)
@pytest.mark.parametrize("rate", [None, 32000])
def test_with_a_span_the_sound_is_as_long_as_the_picture_to_the_sample(corpus, name, rate):
    clip = probe(corpus(name)[0])
    heard = read_sound(clip, rate=rate, mono=True, span=clip.span)
    assert heard.values.shape == (sample_count(clip.duration, rate or 48000),)
    assert heard.values.dtype == np.float32


def test_lossless_sound_comes_back_bit_for_bit_however_it_is_cut(tmp_path):
    sound = Sound(seconds=Fraction(9), codec="flac")
    path = render(tmp_path / "film", Film(steady(12, 9), suffix=".mkv", sounds=[sound]))
    true = np.round(sound.samples() * 32768) / 32768
    whole = read_sound(path).values
    assert np.abs(whole - true).max() <= 1 / 32768
    for start, end in [(0, 1), (2.5, 3.25), (7, 8.5), (8, 12)]:
        span = Span(Fraction(start), Fraction(end))
        part = read_sound(path, span=span)
        wanted = whole[int(start * 48000) : int(end * 48000)]
        assert part.start == span.start
        assert len(part) == int((end - start) * 48000)
        assert np.array_equal(part.values[: len(wanted)], wanted)
        assert not part.values[len(wanted) :].any()


def test_blocks_are_even_and_do_not_change_the_sound(corpus):
    path, _, _ = corpus("start offset mkv")
    whole = read_sound(path, rate=32000).values
    blocks = list(stream_sound(path, rate=32000, block=0.3))
    assert {len(block) for block in blocks[:-1]} == {9600}
    assert np.array_equal(np.concatenate(blocks), whole)


def test_a_hole_in_the_sound_is_silence(tmp_path):
    import av

    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, 12000):
            frame = av.AudioFrame.from_ndarray(np.full((1, 8000), 8192, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            container.mux(stream.encode(frame))
    values = read_sound(path).values[:, 0]
    assert len(values) == 20000
    assert (values[:8000] == 0.25).all()
    assert not values[8000:12000].any()
    assert (values[12000:] == 0.25).all()


def test_mono_is_the_mean_of_the_channels(corpus):
    path, _, _ = corpus("avi")
    both = read_sound(path).values
    assert read_sound(path, mono=True).values == pytest.approx(both.mean(axis=1), abs=1e-6)


def test_a_track_that_is_not_there(corpus):
    with pytest.raises(BadInputError, match="has no sound"):
        read_sound(corpus("no sound")[0])
    with pytest.raises(BadInputError, match="only 2 sound tracks"):
        read_sound(corpus("two sounds")[0], track=2)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 1 / 32768),
        ("a.wav", "PCM_24", 1 / 2**23),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_16", 1 / 32768),
        ("a.flac", "PCM_24", 1 / 2**23),
    ],
)
def test_written_sound_is_read_back(tmp_path, name, subtype, error):
    samples = Sound().samples()
    with SoundWriter(tmp_path / name, 48000, 2, subtype) as writer:
        for block in np.array_split(samples, 7):
            writer.write(block)
        assert not (tmp_path / name).exists()
    clip = probe(tmp_path / name)
    assert (clip.video, clip.duration) == (None, 2)
    assert np.abs(read_sound(clip).values - samples).max() <= error


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fail():
        with SoundWriter(tmp_path / "a.wav", 48000) as writer:
            writer.write(np.zeros(100))
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_writer_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(BadInputError, match=r"\.wav or \.flac"):
        SoundWriter(tmp_path / "a.mp3", 48000)
    with pytest.raises(BadInputError, match="cannot hold FLOAT"):
        SoundWriter(tmp_path / "a.flac", 48000, subtype="FLOAT")


def test_the_loudness_of_a_film_is_that_of_its_sound(corpus, tmp_path):
    path = corpus("two sounds")[0]
    told = read_loudness(path)
    assert told.rate == 100
    np.testing.assert_array_equal(told.values, rms_envelope(read_sound(path), 100).values)
    drawn = tmp_path / "drawn.csv"
    write_envelope(drawn, told)
    np.testing.assert_allclose(read_loudness(drawn).values, told.values, atol=1e-6)
    with pytest.raises(BadInputError):
        read_loudness(corpus("no sound")[0])
