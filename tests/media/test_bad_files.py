import os
from fractions import Fraction

import av
import numpy as np
import pytest
from corpus import Film, Sound, number_of, render, steady, tear

from synchresis.errors import BadInputError, FailureError
from synchresis.media import SoundWriter, frames, mux, probe, read_sound


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    with SoundWriter(path, 48000) as writer:
        writer.write(np.random.default_rng(0).normal(0, 0.1, 96000))
    return path


def empty_film(path, sound: bool):
    """A container whose picture track has no frame."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.height, picture.width, picture.pix_fmt = 48, 64, "yuv420p"
        if sound:
            voice = container.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 0
            container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
        else:
            container.start_encoding()
    return path


def bad_file(kind, folder):
    path = folder / "bad.mp4"
    if kind == "a folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "random bytes":
        path.write_bytes(np.random.default_rng(1).bytes(20000))
    elif kind == "text":
        path = path.with_suffix(".txt")
        path.write_text("Not a film at all.\n" * 200)
    elif kind == "no frames":
        empty_film(path, sound=False)
    elif kind == "no index":
        whole = render(folder / "whole", Film(steady(25, 1)))
        tear(whole, path, 0.6)
        whole.unlink()
    elif kind == "subtitles only":
        path = path.with_suffix(".srt")
        path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    return path


KINDS = ["missing", "a folder", "empty", "random bytes", "text", "no frames", "no index", "subtitles only"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_bad_file_is_one_clear_error_and_nothing_is_written(tmp_path, sound, kind):
    folder = tmp_path / "work"
    folder.mkdir()
    path = bad_file(kind, folder)
    before = sorted(folder.iterdir())
    requests = [
        lambda: probe(path),
        lambda: next(frames(path)),
        lambda: read_sound(path),
        lambda: mux(path, sound, folder / "out.mp4"),
    ]
    for request in requests:
        with pytest.raises(BadInputError) as caught:
            request()
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
    assert sorted(folder.iterdir()) == before


def test_random_bytes_are_never_taken_for_media(tmp_path):
    """Now and then noise looks like the beginning of an MP3."""
    random = np.random.default_rng(0)
    for suffix in ["mp4", "mp3", "mkv", "avi", "wav", "bin"] * 6:
        path = tmp_path / f"noise.{suffix}"
        path.write_bytes(random.bytes(int(random.integers(1, 30000))))
        with pytest.raises(BadInputError, match=path.name):
            probe(path)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "flac"), (".avi", "pcm_s16le")])
def test_damaged_films_are_read_as_far_as_possible_or_refused(tmp_path, sound, suffix, codec):
    random = np.random.default_rng(5)
    film = Film(steady(25, 1), suffix=suffix, sounds=[Sound(seconds=Fraction(1), codec=codec)])
    whole = render(tmp_path / "whole", film).read_bytes()
    path, out, outcomes = tmp_path / f"damaged{suffix}", tmp_path / f"out{suffix}", []
    for i in range(12):
        data = bytearray(whole)
        for place in random.integers(0, len(data) if i % 2 else 1500, random.integers(1, 30)):
            data[place] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            seen = sum(1 for _ in frames(path, rate=25))
            mux(path, sound, out, original="keep", overwrite=True)
            outcomes.append(seen > 0)
        except (BadInputError, FailureError):
            outcomes.append(False)
    assert any(outcomes)
    assert {p.name for p in tmp_path.iterdir()} <= {"sound.wav", f"whole{suffix}", path.name, out.name}


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = render(tmp_path / "film", Film(steady(25, 1)))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: let the opening fail as it would for others

        def refuse(*args, **options):
            raise av.error.PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(BadInputError, match=r"film\.mp4: may not be read"):
        probe(path)


def test_a_picture_track_without_frames_beside_a_sound_is_a_sound(tmp_path):
    clip = probe(empty_film(tmp_path / "film.mp4", sound=True))
    assert clip.video is None
    assert clip.duration == 1
    assert len(read_sound(clip)) == 48000
    with pytest.raises(BadInputError, match="has no picture"):
        next(frames(clip))


def test_a_sound_is_a_clip_without_a_picture(sound, tmp_path):
    clip = probe(sound)
    assert (clip.video, clip.duration, len(clip.audio)) == (None, 2, 1)
    with pytest.raises(BadInputError, match="has no picture"):
        mux(clip, sound, tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sound.wav"]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "flac"), (".avi", "pcm_s16le")])
@pytest.mark.parametrize("keep", [0.5, 0.83])
def test_a_torn_film_is_as_long_as_what_is_there(tmp_path, sound, suffix, codec, keep):
    film = Film(
        steady(25, 4),
        suffix=suffix,
        sounds=[Sound(seconds=Fraction(4), codec=codec)] if suffix == ".mkv" else [],
        # The promise of the header is made before anything is torn off.
        container={"movflags": "faststart"} if suffix == ".mp4" else {},
        options={"g": "10" if suffix == ".mkv" else "1"},  # enough bytes to tear at
    )
    whole = render(tmp_path / "whole", film)
    torn = tear(whole, tmp_path / f"torn{suffix}", keep)
    clip = probe(torn)
    assert 0.5 < clip.duration < 3.9
    seen = [number_of(picture) for _, picture in frames(clip)]
    assert len(seen) > 10
    assert len(seen) >= clip.video.frames - 1  # the frame at the tear may be lost
    assert seen == sorted(set(seen))
    assert len(list(frames(clip, rate=10))) == -int(-clip.duration * 10 // 1)

    out = tmp_path / f"out{suffix}"
    mux(clip, sound, out)
    assert len(read_sound(out, span=clip.span)) == len(read_sound(sound, span=clip.span))
    assert probe(out).video.frames == clip.video.frames
