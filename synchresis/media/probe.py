"""What a file holds, measured on its packets and not on what its header promises.

Clip time 0 is the presentation start of the picture (after edit list and start offset), or of the sound where
there is no picture. Every time that this room gives out lies on that axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.stream

from ..errors import BadInputError
from ..timeline import Span


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a clip.

    width, height: as displayed, after rotation; coded_width, coded_height: as stored. rotation: degrees by
    which a stored frame is turned counter-clockwise for display (0, 90, 180, 270). fps: the average rate.
    start: presentation time of the first shown frame on the container's own axis (s). frames: shown packets;
    hidden: packets that an edit list hides.
    """

    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    fps: Fraction
    start: Fraction
    frames: int
    hidden: int
    codec: str
    pixel_format: str


@dataclass(frozen=True)
class AudioInfo:
    """One sound track of a clip: rate in Hz, start on the axis of the clip (s), duration (s).

    index: of its stream in the container.
    """

    rate: int
    channels: int
    codec: str
    start: Fraction
    duration: Fraction
    language: str | None
    index: int


@dataclass(frozen=True)
class Clip:
    """A media file. duration: of the picture, or of the first sound where there is no picture (s).

    origin: where clip time 0 lies on the container's own axis (s).
    """

    path: Path
    container: str
    duration: Fraction
    origin: Fraction
    video: VideoInfo | None
    audio: tuple[AudioInfo, ...]
    subtitles: int
    chapters: int
    tags: dict[str, str]

    @property
    def span(self) -> Span:
        """[0, duration)."""
        return Span(Fraction(0), self.duration)


def probe(path: str | Path | Clip) -> Clip:
    """Reads every packet of the file (no more than two frames are decoded) and says what is in it.

    Durations come from the packets, so a file whose tail is missing has the duration of what is there.
    Raises BadInputError, naming the file, for what is missing, a folder, empty, no media, or holds neither
    picture nor sound.
    """
    if isinstance(path, Clip):
        return path
    path = Path(path)
    with opened(path) as container:
        picture = picture_stream(container)
        facts = {s.index: _Facts(s) for s in container.streams if s is picture or s.type == "audio"}
        _measure(container, facts)
        shown = facts.pop(picture.index) if picture else None
        heard = [fact for fact in facts.values() if fact.count and fact.frame is not None]
        if shown and shown.count and shown.frame is None:
            raise BadInputError(f"{path}: its picture cannot be decoded")
        video = _video_info(shown) if shown and shown.count else None
        if shown and video:
            origin = video.start
            duration = shown.end(1 / video.fps) - origin
        elif heard:
            origin = _sound_start(heard[0])
            duration = _audio_info(heard[0], origin).duration
        else:
            raise BadInputError(f"{path}: holds no picture and no sound")
        return Clip(
            path=path,
            container=container.format.name,
            duration=duration,
            origin=origin,
            video=video,
            audio=tuple(_audio_info(fact, origin) for fact in heard),
            subtitles=len(container.streams.subtitles),
            chapters=len(container.chapters()),
            tags=dict(container.metadata),
        )


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """The container of a media file; BadInputError where there is none."""
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; give the name of a media file")
    if not path.exists():
        raise BadInputError(f"{path}: there is no such file")
    try:
        if path.stat().st_size == 0:
            raise BadInputError(f"{path}: the file is empty")
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except PermissionError as error:
        raise BadInputError(f"{path}: may not be read; change its permissions") from error
    except (av.error.FFmpegError, OSError) as error:
        raise BadInputError(f"{path}: is not a media file that can be read ({error.strerror})") from error
    with container:
        if container.format.name == "tty":  # FFmpeg would draw a text file as a picture of a terminal.
            raise BadInputError(f"{path}: is a text file, not a media file")
        yield container


def picture_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first picture track that is no cover art."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def packets(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """The packets of the streams in file order, up to the end or to where a torn file stops making sense."""
    if not streams:  # of which demux would make all
        return
    try:
        for packet in container.demux(*streams):
            if packet.size:  # PyAV ends with an empty packet for each stream
                yield packet
    except av.error.FFmpegError:
        return


def decoded(packet: av.Packet) -> list[av.VideoFrame] | list[av.AudioFrame]:
    """The frames that a packet completes. Damaged packets, as at the torn end of a file, give none: decoders
    complain of them in many ways."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []


def flushed(stream: av.stream.Stream) -> list[av.VideoFrame] | list[av.AudioFrame]:
    """The frames that the decoder still holds after the last packet."""
    try:
        return stream.decode(None)
    except av.error.FFmpegError:
        return []


@dataclass
class _Facts:
    """What the packets of one stream tell; times in units of its time base, on the container's axis."""

    stream: av.stream.Stream
    frame: av.VideoFrame | av.AudioFrame | None = None
    start: int | None = None
    last: int | None = None
    last_duration: int = 0
    count: int = 0
    hidden: int = 0

    def add(self, packet: av.Packet) -> None:
        pts = packet.dts if packet.pts is None else packet.pts
        if packet.is_discard:
            self.hidden += 1
        if packet.is_discard or pts is None:
            return
        self.count += 1
        if self.start is None or pts < self.start:
            self.start = pts
        if self.last is None or pts > self.last:
            self.last, self.last_duration = pts, packet.duration or 0

    def end(self, fallback: Fraction) -> Fraction:
        """When the last packet has been shown; `fallback` (s) is its duration where the file gives none."""
        assert self.last is not None
        return self.last * self.stream.time_base + (self.last_duration * self.stream.time_base or fallback)


def _measure(container: av.container.InputContainer, facts: dict[int, _Facts]) -> None:
    """Fills in the facts: every packet counted, the first frame of each stream decoded."""
    streams = [fact.stream for fact in facts.values()]
    for stream in streams:
        if stream.codec_context is not None:
            stream.codec_context.thread_type = "NONE"  # threads would hold the first frame back
    for packet in packets(container, *streams):
        fact = facts[packet.stream_index]
        fact.add(packet)
        if fact.frame is None and fact.stream.codec_context is not None:
            fact.frame = next(iter(decoded(packet)), None)
    for fact in facts.values():
        if fact.frame is None and fact.count and fact.stream.codec_context is not None:
            fact.frame = next(iter(flushed(fact.stream)), None)


def _video_info(fact: _Facts) -> VideoInfo:
    stream, frame = fact.stream, fact.frame
    assert isinstance(frame, av.VideoFrame)
    assert fact.start is not None
    rotation = round(frame.rotation / 90) * 90 % 360
    width, height = (frame.height, frame.width) if rotation % 180 else (frame.width, frame.height)
    return VideoInfo(
        width=width,
        height=height,
        coded_width=frame.width,
        coded_height=frame.height,
        rotation=rotation,
        fps=_fps(fact),
        start=fact.start * stream.time_base,
        frames=fact.count,
        hidden=fact.hidden,
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
    )


def _fps(fact: _Facts) -> Fraction:
    rate = fact.stream.average_rate or fact.stream.guessed_rate
    if rate:
        return Fraction(rate)
    length = (fact.last or 0) - (fact.start or 0)
    return (fact.count - 1) / (length * fact.stream.time_base) if length else Fraction(25)


def _audio_info(fact: _Facts, origin: Fraction) -> AudioInfo:
    frame, stream = fact.frame, fact.stream
    assert isinstance(frame, av.AudioFrame)
    start = _sound_start(fact)
    return AudioInfo(
        rate=frame.sample_rate,
        channels=len(frame.layout.channels),
        codec=stream.codec_context.name,
        start=start - origin,
        duration=fact.end(Fraction(frame.samples, frame.sample_rate)) - start,
        language=stream.language,
        index=stream.index,
    )


def _sound_start(fact: _Facts) -> Fraction:
    """Of the first decoded sample: later than the first packet, where an encoder's priming is hidden."""
    assert fact.frame is not None
    pts = fact.start if fact.frame.pts is None else fact.frame.pts
    return pts * fact.stream.time_base
