"""The picture as a stream of arrays, chosen by presentation time."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from ..errors import BadInputError
from ..timeline import Span, as_fraction
from ..timeline.time import Number
from .probe import Clip, decoded, flushed, opened, packets, picture_stream, probe

# Seeking is worth its trouble only past this many seconds; it lands this much early, so that both neighbours
# of the wanted instant are seen.
_WORTH_SEEKING, _EARLY = Fraction(5), Fraction(1)

# Presentation time on the axis of the clip, and the frame.
_Frames = Generator[tuple[Fraction, av.VideoFrame], None, None]


def frames(
    clip: Clip | str | Path,
    times: Iterable[Number] | None = None,
    rate: Number | None = None,
    size: tuple[int, int] | None = None,
    span: Span | None = None,
    gray: bool = False,
) -> Iterator[tuple[float, np.ndarray]]:
    """Streams pictures as (presentation time in s, uint8 [H, W, 3] or [H, W] if `gray`), rotated for display.

    times: an increasing sequence of instants (s); each gives the frame whose presentation time is nearest
    (of two equally near, the earlier). rate: the instants span.start + (i + 0.5) / rate, as many as cover
    `span` (the whole clip by default). Neither: every frame in `span`, once. The time given out is that of
    the frame, not the one asked for. size: (height, width) after rotation; the picture is squeezed into it.

    Two decoded frames are held, whatever the length. Raises BadInputError where there is no picture.
    """
    clip = probe(clip)
    if clip.video is None:
        raise BadInputError(f"{clip.path}: has no picture")
    if times is not None and rate is not None:
        raise ValueError("give times or a rate, not both")
    span = span or clip.span
    draw = _Drawing(clip.video.rotation, size, gray)
    if times is None and rate is None:
        for time, frame in _shown(clip, span.start):
            if time >= span.end:
                return
            if time >= span.start:
                yield float(time), draw(frame)
    else:
        wanted = map(as_fraction, times) if times is not None else _grid(span, as_fraction(rate or 0))
        yield from _nearest(clip, wanted, draw)


def _grid(span: Span, rate: Fraction) -> Iterator[Fraction]:
    for i in range(math.ceil(span.duration * rate)):
        yield span.start + (i + Fraction(1, 2)) / rate


def _nearest(clip: Clip, wanted: Iterator[Fraction], draw: _Drawing) -> Iterator[tuple[float, np.ndarray]]:
    first = next(wanted, None)
    if first is None:
        return
    source = _shown(clip, first)
    here, following = next(source, None), next(source, None)
    if here is None:
        raise BadInputError(f"{clip.path}: its picture cannot be decoded")
    previous = first
    for t in itertools.chain([first], wanted):
        if t < previous:
            raise ValueError(f"times must increase: {float(t)} s comes after {float(previous)} s")
        previous = t
        while following and abs(following[0] - t) < abs(here[0] - t):
            here, following = following, next(source, None)
        yield float(here[0]), draw(here[1])


def _shown(clip: Clip, start: Fraction) -> _Frames:
    """Frames in order of presentation, from the beginning or from a little before `start` (s)."""
    if start >= _WORTH_SEEKING and clip.container != "avi":
        found = _from(clip, start - _EARLY)
        first = next(found, None)
        if first is not None and first[0] <= start - _EARLY:
            yield first
            yield from found
            return
        found.close()  # some files cannot be sought: read them from the beginning
    yield from _from(clip, None)


def _from(clip: Clip, start: Fraction | None) -> _Frames:
    assert clip.video is not None
    with opened(clip.path) as container:
        stream = picture_stream(container)
        assert stream is not None
        stream.thread_type = "AUTO"
        if start is not None:
            try:
                container.seek(math.floor((start + clip.origin) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                return
        # AVI counts packets and tells nothing of the order of presentation: where frames are reordered, the
        # k-th shown gets the time of the k-th stored.
        counts: deque[int] | None = None
        if container.format.name == "avi" and stream.codec_context.has_b_frames:
            counts = deque()
        time = -1 / clip.video.fps
        for packet in packets(container, stream):
            if counts is not None and packet.pts is not None:
                counts.append(packet.pts)
            for frame in decoded(packet):
                time = _time(frame, counts, stream, clip, time)
                yield time, frame
        for frame in flushed(stream):
            time = _time(frame, counts, stream, clip, time)
            yield time, frame


def _time(
    frame: av.VideoFrame,
    counts: deque[int] | None,
    stream: av.VideoStream,
    clip: Clip,
    previous: Fraction,
) -> Fraction:
    """Presentation time on the axis of the clip; one frame after the previous where the file gives none."""
    pts = counts.popleft() if counts else frame.pts
    if pts is None:
        assert clip.video is not None
        return previous + 1 / clip.video.fps
    return pts * stream.time_base - clip.origin


class _Drawing:
    """Decoded frames to arrays: colour, size, rotation."""

    def __init__(self, rotation: int, size: tuple[int, int] | None, gray: bool) -> None:
        self._turns = rotation // 90
        self._size = size[::-1] if size and self._turns % 2 else size
        self._format = "gray" if gray else "rgb24"
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        height, width = self._size or (frame.height, frame.width)
        shrinks = height < frame.height or width < frame.width
        picture = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=self._format,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(picture.to_ndarray(), self._turns))
