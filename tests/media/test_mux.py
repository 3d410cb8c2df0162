from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from corpus import FILMS, NAMES, Sound, lag, number_of, pattern

from synchresis.errors import BadInputError
from synchresis.media import SoundWriter, frames, mux, probe, read_sound
from synchresis.media.probe import picture_stream
from synchresis.timeline import sample_count

ENCODED = {".mp4": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "opus", ".avi": "pcm_s16le"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Three seconds of noise, longer than any film of the corpus but the edited and the variable ones."""
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    with SoundWriter(path, 48000, 1, "PCM_24") as writer:
        writer.write(Sound(seed=9, seconds=Fraction(3), layout="mono").samples())
    return path


def streams(path: Path) -> dict[str, list]:
    """The packets of each kind of stream: bytes and, for picture and subtitles, times since the first shown."""
    origin = probe(path).origin
    with av.open(str(path)) as container:
        picture = picture_stream(container)
        found: dict[str, list] = {f"{s.type} {s.index}": [] for s in container.streams if s.type != "data"}
        for packet in container.demux():
            stream = packet.stream
            if packet.size and stream.type != "data":
                time = packet.pts is not None and packet.pts * stream.time_base - origin
                entry = (bytes(packet), time, packet.is_keyframe, packet.is_discard)
                found[f"{stream.type} {stream.index}"].append(entry)
        kinds: dict[str, list] = {"picture": found.pop(f"video {picture.index}")}
        for key, packets in found.items():
            kinds.setdefault(key.split()[0], []).append(packets)
        return kinds


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_is_untouched_and_the_sound_fits_it(corpus, tmp_path, sound, name):
    path, times, first = corpus(name)
    out = tmp_path / f"out{path.suffix}"
    assert mux(path, sound, out) == ()
    assert [p.name for p in tmp_path.iterdir()] == [out.name]

    before, after = streams(path), streams(out)
    assert after["picture"] == before["picture"]
    assert after.get("subtitle") == before.get("subtitle")
    one, two = probe(path), probe(out)
    assert two.video == one.video
    assert two.chapters == one.chapters
    assert [number_of(picture) - first for _, picture in frames(out)] == list(range(len(times) - 1))
    film = FILMS.get(name)
    if film and path.suffix != ".avi":
        kept = {key.lower(): value for key, value in two.tags.items()}
        assert kept.items() >= film.tags.items()

    assert [info.codec for info in two.audio] == [ENCODED[path.suffix]]
    heard = read_sound(two).values[:, 0]
    true = read_sound(sound).values[:, 0]
    count = sample_count(one.duration, 48000)
    assert len(heard) == count
    if count > 4800:
        assert lag(heard, true[:count]) == 0
        assert np.corrcoef(heard[: len(true)], true[:count])[0, 1] > 0.9
    assert not heard[len(true) + 2048 :].any()


@pytest.mark.parametrize("name", ["two sounds", "two sounds mkv", "late sound", "start offset", "avi", "odd size webm"])
def test_the_original_is_kept_after_the_new_sound(corpus, tmp_path, sound, name):
    path, _, _ = corpus(name)
    out = tmp_path / f"out{path.suffix}"
    mux(path, sound, out, original="keep")
    one, two = probe(path), probe(out)
    assert [info.codec for info in two.audio] == [ENCODED[path.suffix], *[info.codec for info in one.audio]]
    before, after = streams(path), streams(out)
    assert after["picture"] == before["picture"]
    for old, new in zip(before["audio"], after["audio"][1:], strict=True):
        assert [packet[0] for packet in old] == [packet[0] for packet in new]
        # To within a tick of a clock of milliseconds.
        assert [float(packet[1]) for packet in old] == pytest.approx([float(p[1]) for p in new], abs=0.0011)
    if path.suffix != ".avi":
        assert [info.language for info in two.audio[1:]] == [info.language for info in one.audio]
        with av.open(str(out)) as container:
            default = [bool(s.disposition & av.stream.Disposition.default) for s in container.streams.audio]
        assert default == [True] + [False] * len(one.audio)
    assert len(read_sound(out, span=one.span)) == sample_count(one.duration, 48000)


def test_the_original_is_mixed_in(corpus, tmp_path, sound):
    path, _, _ = corpus("start offset mkv")
    out = tmp_path / "out.mkv"
    mux(path, sound, out, original="mix")
    two = probe(out)
    assert len(two.audio) == 1
    old, new = read_sound(path, span=two.span).values, read_sound(sound, span=two.span).values
    total = old + new  # the one channel goes to both
    total /= max(np.abs(total).max(), 1)
    assert np.abs(read_sound(out).values[: len(total)] - total).max() < 1e-5


def test_a_mix_that_would_clip_is_lowered(corpus, tmp_path):
    loud = tmp_path / "loud.wav"
    with SoundWriter(loud, 48000, 1, "FLOAT") as writer:
        writer.write(np.full(96000, 0.9, np.float32))
    path, _, _ = corpus("two sounds mkv")
    out = tmp_path / "out.mkv"
    mux(path, loud, out, original="mix")
    total = read_sound(path, span=probe(path).span).values + np.float32(0.9)
    peak = np.abs(total).max()
    assert peak > 1
    assert np.abs(read_sound(out).values - total / peak)[:95000].max() < 1e-4


def test_chapters_keep_their_times_and_titles(corpus, tmp_path, sound):
    for name in ("subtitles and chapters", "subtitles and chapters mkv"):
        path, _, _ = corpus(name)
        out = tmp_path / f"out{path.suffix}"
        mux(path, sound, out, title="Renamed")
        marks = []
        for film in (path, out):
            with av.open(str(film)) as container:
                marks.append(
                    [
                        (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
                        for c in container.chapters()
                    ]
                )
        assert marks[0] == marks[1]
        assert len(marks[0]) == 2
        assert probe(out).tags["title"] == "Renamed"


@pytest.mark.parametrize("rate", [22050, 44100, 96000, 37800])
def test_any_rate_of_sound_fits_the_picture(corpus, tmp_path, rate):
    path, _, _ = corpus("rate 29.97")
    voice = tmp_path / "voice.flac"
    with SoundWriter(voice, rate, 2) as writer:
        writer.write(np.random.default_rng(0).normal(0, 0.1, (rate, 2)))
    mux(path, voice, tmp_path / "out.mp4")
    clip = probe(tmp_path / "out.mp4")
    assert clip.audio[0].duration == pytest.approx(clip.duration, abs=0.5 / clip.audio[0].rate)
    assert len(read_sound(clip)) == sample_count(clip.duration, clip.audio[0].rate)


def test_a_film_may_move_to_another_container(corpus, tmp_path, sound):
    path, _, _ = corpus("b-frames")
    mux(path, sound, tmp_path / "out.mkv", original="keep")
    clip = probe(tmp_path / "out.mkv")
    assert [info.codec for info in clip.audio] == ["flac", "aac"]
    assert [number_of(p) for _, p in frames(clip)] == list(range(60))
    assert [packet[0] for packet in streams(tmp_path / "out.mkv")["picture"]] == [
        packet[0] for packet in streams(path)["picture"]
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_eight_channels(corpus, tmp_path, suffix):
    """A frame has room for eight planes, and a reader that looks for the end of their list runs past it."""
    voice = tmp_path / "voice.wav"
    true = np.random.default_rng(0).normal(0, 0.1, (96000, 8)).astype(np.float32)
    with SoundWriter(voice, 48000, 8, "FLOAT") as writer:
        writer.write(true)
    assert np.array_equal(read_sound(voice).values, true)
    out = tmp_path / f"out{suffix}"
    mux(corpus("b-frames")[0], voice, out)
    heard = read_sound(out).values
    assert heard.shape == (96000, 8)
    if suffix == ".mkv":
        assert np.abs(heard - true).max() < 1e-6


def test_cover_art_is_kept_and_is_not_the_picture(corpus, tmp_path, sound):
    film, covered, out = corpus("b-frames")[0], tmp_path / "covered.mp4", tmp_path / "out.mp4"
    with av.open(str(film)) as source, av.open(str(covered), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copies = {s.index: container.add_stream_from_template(s, opaque=True) for s in source.streams}
        container.start_encoding()
        container.mux(cover.encode(av.VideoFrame.from_ndarray(pattern(9, 48, 64), "rgb24")))
        container.mux(cover.encode(None))
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    mux(covered, sound, out)
    before, after = streams(covered), streams(out)
    assert after["picture"] == before["picture"]
    assert len(after["picture"]) == 60
    assert [[packet[0] for packet in stream] for stream in after["video"]] == [
        [packet[0] for packet in stream] for stream in before["video"]
    ]


def test_attachments_are_kept_where_they_can_be(corpus, tmp_path, sound):
    film, fonts = corpus("b-frames")[0], tmp_path / "fonts.mkv"
    with av.open(str(film)) as source, av.open(str(fonts), "w") as container:
        copies = {s.index: container.add_stream_from_template(s, opaque=True) for s in source.streams}
        container.add_attachment("font.ttf", "font/ttf", b"letters")
        container.start_encoding()
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    mux(fonts, sound, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        (attachment,) = container.streams.attachments
        assert (attachment.metadata["filename"], attachment.data) == ("font.ttf", b"letters")
    with pytest.raises(BadInputError, match=r"\.mp4 cannot hold the attachment"):
        mux(fonts, sound, tmp_path / "out.mp4")


def test_a_copy_without_a_sound(corpus, tmp_path):
    path, _, _ = corpus("two sounds")
    mux(path, None, tmp_path / "silent.mp4")
    assert probe(tmp_path / "silent.mp4").audio == ()
    assert streams(tmp_path / "silent.mp4")["picture"] == streams(path)["picture"]


def test_requests_that_cannot_be_met_write_nothing(corpus, tmp_path, sound):
    film, _, _ = corpus("b-frames")
    taken = tmp_path / "taken.mp4"
    taken.write_text("mine")
    cases = [
        (film, sound, taken, "exists already"),
        (film, sound, film, "is the film itself"),
        (film, sound, tmp_path / "out.gif", "films are written as"),
        (film, sound, tmp_path / "out.webm", "cannot hold the h264 video"),
        (film, sound, tmp_path / "no" / "out.mp4", "no folder"),
        (sound, sound, tmp_path / "out.mp4", "has no picture"),
        (film, corpus("no sound")[0], tmp_path / "out.mp4", "has no sound"),
        (corpus("edit list mp4")[0], sound, tmp_path / "out.mkv", "edit list hides frames"),
        (corpus("subtitles and chapters")[0], sound, tmp_path / "out.avi", "cannot hold the mov_text subtitle"),
    ]
    for clip, voice, out, complaint in cases:
        with pytest.raises(BadInputError, match=complaint):
            mux(clip, voice, out)
    with pytest.raises(BadInputError, match="drop, keep or mix"):
        mux(film, sound, tmp_path / "out.mp4", original="other")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.mp4"]
    assert taken.read_text() == "mine"
    mux(film, sound, taken, overwrite=True)
    assert probe(taken).audio


def test_h264_of_an_mp4_is_refused_for_avi(corpus, tmp_path, sound):
    """Its packets would have to be rewritten: they carry lengths where avi wants start codes."""
    out = tmp_path / "out.avi"
    with pytest.raises(BadInputError, match=r"does not go into \.avi untouched; take \.mkv or \.mp4"):
        mux(corpus("two sounds")[0], sound, out)
    assert not out.exists()
