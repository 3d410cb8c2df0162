"""Films of every awkward kind, rendered with known truth: each frame carries its number as a readable pattern."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48000
CLOCK = 120_000  # ticks per second in which every rate below is whole
FRAME_RATES = [
    *(Fraction(n) for n in (12, 15, 16)),
    Fraction(24000, 1001),
    *(Fraction(n) for n in (24, 25)),
    Fraction(30000, 1001),
    *(Fraction(n) for n in (30, 50)),
    Fraction(60000, 1001),
    Fraction(120),
]


@dataclass
class Sound:
    """A sound track of a film: noise from a seed, `seconds` long, starting at `start` on the file's axis."""

    seed: int = 0
    seconds: Fraction = Fraction(2)
    start: Fraction = Fraction(0)
    codec: str = "aac"
    language: str = "eng"
    layout: str = "stereo"

    def samples(self) -> np.ndarray:
        """Noise that fades in and out, so that an encoder can follow it: float32 [n, C]."""
        count, channels = int(self.seconds * RATE), 1 if self.layout == "mono" else 2
        noise = np.random.default_rng(self.seed).normal(0, 0.1, (count, channels))
        smooth = np.apply_along_axis(lambda x: np.convolve(x, np.ones(8) / 3, "same"), 0, noise)
        return np.clip(smooth, -1, 1).astype(np.float32)


@dataclass
class Film:
    """What to render. times: presentation time of each frame on the file's axis, and last the end (s)."""

    times: list[Fraction]
    suffix: str = ".mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size: tuple[int, int] = (48, 64)
    rotation: int = 0
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    sounds: list[Sound] = field(default_factory=list)
    subtitles: str | None = None
    chapters: list[tuple[int, int, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


def steady(fps: Fraction | int, seconds: Fraction | int = 2, start: Fraction | int = 0) -> list[Fraction]:
    """Times of frames at one rate, and the end."""
    fps = Fraction(fps)
    return [start + i / fps for i in range(int(seconds * fps) + 1)]


def pattern(number: int, height: int, width: int) -> np.ndarray:
    """A frame [H, W, 3]: 4x4 blocks. Only the upper left corner of the four is white: it shows what is up. The
    other twelve blocks are the bits of the number."""
    bits = [number >> i & 1 for i in range(12)]
    blocks = np.array([1, *bits[:2], 0, *bits[2:10], 0, *bits[10:], 0]).reshape(4, 4)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return np.repeat((blocks[rows][:, columns] * 215 + 20).astype(np.uint8)[..., None], 3, axis=2)


def number_of(picture: np.ndarray) -> int:
    """The number that a decoded frame carries; AssertionError if it is not upright."""
    gray = picture.mean(axis=2) if picture.ndim == 3 else picture
    height, width = gray.shape
    places = [int((i + 0.5) * n / 4) for n in (height, width) for i in range(4)]
    blocks = [bool(gray[y, x] > 128) for y in places[:4] for x in places[4:]]
    corners = [blocks[i] for i in (0, 3, 12, 15)]
    assert corners == [True, False, False, False], f"not upright: {corners}"
    bits = [*blocks[1:3], *blocks[4:12], *blocks[13:15]]
    return sum(bit << i for i, bit in enumerate(bits))


def render(path: Path, film: Film) -> Path:
    """Writes the film; the suffix of the path is the film's."""
    path = path.with_suffix(film.suffix)
    with av.open(str(path), "w", options=film.container) as container:
        container.metadata.update(film.tags)
        picture = _picture(container, film)
        sounds = [_sound(container, sound) for sound in film.sounds]
        subtitles = None
        if film.subtitles:
            subtitles = container.add_mux_stream(film.subtitles)
            subtitles.time_base = Fraction(1, 1000)
        container.set_chapters(
            [
                {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for i, (a, b, title) in enumerate(film.chapters, 1)
            ]
        )
        container.start_encoding()
        lasts: dict[int, int] = {}
        packets: list[av.Packet] = []
        for number, (time, end) in enumerate(itertools.pairwise(film.times)):
            upright = pattern(number, *film.size)
            stored = np.ascontiguousarray(np.rot90(upright, -film.rotation // 90))
            frame = av.VideoFrame.from_ndarray(stored, "rgb24")
            frame.time_base = picture.codec_context.time_base
            frame.pts = int(time / frame.time_base)
            lasts[frame.pts] = int((end - time) / frame.time_base)
            packets += picture.encode(frame)
        for packet in packets + picture.encode(None):
            packet.duration = lasts[packet.pts]  # encoders forget how long the last frame is shown
            container.mux(packet)
        for stream, sound in zip(sounds, film.sounds, strict=True):
            planes = np.ascontiguousarray(sound.samples().T)
            frame = av.AudioFrame.from_ndarray(planes, "fltp", sound.layout)
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = int(sound.start * RATE)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for i, line in enumerate(["Hello", "Goodbye"] if subtitles else []):
            text = line.encode()
            packet = av.Packet(len(text).to_bytes(2, "big") + text if film.subtitles == "mov_text" else text)
            packet.pts = packet.dts = 200 + 600 * i
            packet.duration, packet.time_base, packet.stream = 500, Fraction(1, 1000), subtitles
            container.mux(packet)
    return path


def _picture(container: av.container.OutputContainer, film: Film) -> av.VideoStream:
    gap = film.times[1] - film.times[0] if len(film.times) > 1 else Fraction(1, 25)
    picture = container.add_stream(film.codec, rate=1 / gap, options=film.options)
    height, width = film.size[::-1] if film.rotation % 180 else film.size
    picture.height, picture.width, picture.pix_fmt = height, width, film.pixels
    # AVI knows no clock but frames; MPEG-4 clocks have 16 bits.
    picture.codec_context.time_base = gap if film.suffix == ".avi" else Fraction(1, CLOCK)
    if film.rotation:
        picture.set_display_rotation(film.rotation)
    return picture


def _sound(container: av.container.OutputContainer, sound: Sound) -> av.AudioStream:
    stream = container.add_stream(sound.codec, rate=RATE, layout=sound.layout)
    stream.metadata["language"] = sound.language
    return stream


def cut_copy(source: Path, path: Path, at: Fraction) -> Path:
    """`source` from `at` on, packets copied from the keyframe before: what `-ss AT -c copy` writes. What lies
    before `at` gets negative times, which mp4 turns into an edit list that hides it."""
    with av.open(str(source)) as film, av.open(str(path), "w") as container:
        copies = {s.index: container.add_stream_from_template(s, opaque=True) for s in film.streams}
        film.seek(int(at * av.time_base), backward=True)
        for packet in film.demux():
            if packet.size:
                moved = int(at / packet.time_base)
                packet.pts -= moved
                packet.dts -= moved
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    return path


def end_early(source: Path, path: Path, seconds: Fraction) -> Path:
    """`source` (mp4) with an edit list that stops showing the picture after `seconds`: how phones trim films."""
    data = bytearray(source.read_bytes())
    entry = data.index(b"elst") + 12
    assert int.from_bytes(data[entry - 4 : entry], "big") == 1  # entries
    data[entry : entry + 4] = int(seconds * 1000).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def tear(source: Path, path: Path, keep: float) -> Path:
    """The first `keep` (0..1) of the bytes of `source`."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def lag(heard: np.ndarray, true: np.ndarray) -> int:
    """By how many samples `heard` comes after `true`: the highest correlation."""
    count = len(heard) + len(true)
    product = np.fft.irfft(np.fft.rfft(heard, count) * np.conj(np.fft.rfft(true, count)), count)
    return int((product.argmax() + count // 2) % count - count // 2)


VP9 = {"codec": "libvpx-vp9", "suffix": ".webm", "options": {"deadline": "realtime", "cpu-used": "8"}}


def _variable() -> list[Fraction]:
    gaps = np.random.default_rng(7).integers(CLOCK // 120, CLOCK // 8, 40)
    return [Fraction(int(tick), CLOCK) for tick in [0, *np.cumsum(gaps)]]


FILMS: dict[str, Film] = {
    **{f"rate {float(fps):.2f}": Film(steady(fps), sounds=[Sound()]) for fps in FRAME_RATES},
    "variable rate": Film(_variable(), options={"bf": "0"}, sounds=[Sound()]),
    "variable rate mkv": Film(_variable(), suffix=".mkv", options={"bf": "0"}, sounds=[Sound(codec="flac")]),
    **{f"rotation {turn}": Film(steady(25, 1), rotation=turn) for turn in (90, 180, 270)},
    "rotation mov": Film(steady(25, 1), suffix=".mov", rotation=90),
    "rotation mkv": Film(steady(25, 1), suffix=".mkv", rotation=270),
    "start offset": Film(steady(25, start=Fraction(5, 4)), sounds=[Sound(seconds=Fraction(3))]),
    "start offset mkv": Film(
        steady(25, start=Fraction(5, 4)), suffix=".mkv", sounds=[Sound(seconds=Fraction(3), codec="flac")]
    ),
    "late sound": Film(
        steady(25),
        sounds=[Sound(seconds=Fraction(1), start=Fraction(3, 4))],
        container={"movie_timescale": "48000"},  # the delay is counted in it: 1000 would move the sound
    ),
    "short sound": Film(steady(25), suffix=".mov", sounds=[Sound(seconds=Fraction(1))]),
    "b-frames": Film(steady(30), options={"bf": "4", "b-pyramid": "normal", "g": "20"}, sounds=[Sound()]),
    "b-frames avi": Film(steady(25), suffix=".avi", sounds=[Sound(codec="pcm_s16le")]),
    "odd size": Film(steady(25, 1), pixels="yuv444p", size=(47, 63)),
    "odd size webm": Film(steady(25), size=(47, 63), sounds=[Sound(codec="libopus")], **VP9),
    "10 bit": Film(steady(25, 1), pixels="yuv420p10le"),
    "no sound": Film(steady(25, 1)),
    "two sounds": Film(steady(25), sounds=[Sound(), Sound(seed=1, language="deu", layout="mono")]),
    "two sounds mkv": Film(
        steady(25), suffix=".mkv", sounds=[Sound(codec="flac"), Sound(seed=1, codec="aac", language="deu")]
    ),
    "subtitles and chapters": Film(
        steady(25),
        sounds=[Sound()],
        subtitles="mov_text",
        chapters=[(0, 900, "Before"), (900, 2000, "After")],
        tags={"title": "Two parts", "comment": "kept", "scene": "12b"},
        container={"movflags": "use_metadata_tags"},
    ),
    "subtitles and chapters mkv": Film(
        steady(25),
        suffix=".mkv",
        sounds=[Sound(codec="flac")],
        subtitles="subrip",
        chapters=[(0, 900, "Before"), (900, 2000, "After")],
        tags={"title": "Two parts", "scene": "12b"},
    ),
    "avi": Film(steady(25), suffix=".avi", codec="mpeg4", sounds=[Sound(codec="pcm_s16le")]),
    "one frame": Film(steady(25, Fraction(1, 25))),
}
# The first frame shown of the films that are cut between keyframes.
CUT_AT = 17
NAMES = [*FILMS, "edit list mp4", "edit list mov", "early end"]
