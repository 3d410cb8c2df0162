"""Samples in and out: sound of any media file on the axis of its clip, WAV and FLAC files."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from ..errors import BadInputError, FailureError
from ..timeline import Span, Track, as_fraction, sample_count, written_beside
from ..timeline.time import Number
from .probe import Clip, decoded, flushed, opened, packets, probe

# Timestamps of a file jitter by a few milliseconds; only a longer hole or overlap is taken at its word.
_JITTER = Fraction(1, 10)
_WORTH_SEEKING, _EARLY = Fraction(5), Fraction(1)

_Pieces = Generator[tuple[int | None, np.ndarray], None, None]


def read_sound(
    path: Clip | str | Path,
    rate: Number | None = None,
    mono: bool = False,
    span: Span | None = None,
    track: int = 0,
) -> Track:
    """The sound of a file as a float32 track [T, C], or [T] if `mono`; see stream_sound for the rest."""
    clip = probe(path)
    start = span.start if span else Fraction(0)
    blocks = list(stream_sound(clip, rate, mono, span=span, track=track))
    channels = 1 if mono else clip.audio[track].channels
    values = np.concatenate([np.zeros((0, channels), np.float32), *blocks])
    return Track(values[:, 0] if mono else values, as_fraction(rate or clip.audio[track].rate), start)


def stream_sound(
    path: Clip | str | Path,
    rate: Number | None = None,
    mono: bool = False,
    block: Number = 1,
    span: Span | None = None,
    track: int = 0,
) -> Iterator[np.ndarray]:
    """Streams a sound track as float32 blocks [n, C] of `block` seconds (the last may be shorter).

    The first sample is at span.start, or at clip time 0: what comes earlier is cut; a late start and holes
    are silence. With a span there are exactly sample_count(span.duration, rate) samples, silent past the
    end of the sound; without one, it goes to its own end. rate: Hz, by default that of the track (soxr
    otherwise). mono: the mean of the channels. Raises BadInputError where there is no such track.
    """
    clip = probe(path)
    if not 0 <= track < len(clip.audio):
        has = f"only {len(clip.audio)} sound tracks" if clip.audio else "no sound"
        raise BadInputError(f"{clip.path}: has {has}")
    start = span.start if span else Fraction(0)
    source_rate = Fraction(clip.audio[track].rate)
    rate = as_fraction(rate) if rate is not None else source_rate
    samples = _continuous(clip, track, start)
    if mono:
        samples = (values.mean(axis=1, keepdims=True) for values in samples)
    if rate != source_rate:
        samples = _resampled(samples, source_rate, rate)
    if span is not None:
        channels = 1 if mono else clip.audio[track].channels
        samples = _exactly(samples, sample_count(span.duration, rate), channels)
    yield from _blocks(samples, max(sample_count(block, rate), 1))


def _continuous(clip: Clip, track: int, start: Fraction) -> Iterator[np.ndarray]:
    """Samples at the track's own rate from clip time `start` to the end of the sound, without a hole."""
    info = clip.audio[track]
    silence = np.zeros((info.rate, info.channels), np.float32)
    # `here` is the position of the next sample to give out, `source` that of the next one to come (samples).
    here, source = sample_count(start, info.rate), None
    for position, values in _decoded_sound(clip, track, start):
        if source is None or (position is not None and abs(position - source) > _JITTER * info.rate):
            source = position or 0
        values, source = values[max(here - source, 0) :], source + len(values)
        for missing in range(source - len(values) - here, 0, -len(silence)):
            yield silence[:missing]
        if len(values):
            yield values
            here = source


def _decoded_sound(clip: Clip, track: int, start: Fraction) -> _Pieces:
    """Decoded pieces [n, C] and where each begins on the axis of the clip (samples), if the file tells."""
    if clip.video is not None and start >= _WORTH_SEEKING:
        pieces = _sound_from(clip, track, start - _EARLY)
        first = next(pieces, None)
        if first and first[0] is not None and first[0] <= start * clip.audio[track].rate:
            yield first
            yield from pieces
            return
        pieces.close()  # some files cannot be sought: read them from the beginning
    yield from _sound_from(clip, track, None)


def _sound_from(clip: Clip, track: int, start: Fraction | None) -> _Pieces:
    info = clip.audio[track]
    with opened(clip.path) as container:
        stream = container.streams[info.index]
        if start is not None:
            try:
                container.seek(int((start + clip.origin) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                return
        # An encoder fills its last frame up; where the file's clock counts samples, it tells the true end.
        end = None
        if stream.time_base * info.rate == 1:
            end = sample_count(info.start + info.duration, info.rate)
        convert = av.AudioResampler(format="flt")  # packed: PyAV reads past the end of eight planes
        for packet in packets(container, stream):
            for frame in decoded(packet):
                yield from _piece(frame, convert, clip, track, end)
        for frame in flushed(stream):
            yield from _piece(frame, convert, clip, track, end)


def _piece(
    frame: av.AudioFrame, convert: av.AudioResampler, clip: Clip, track: int, end: int | None
) -> Iterator[tuple[int | None, np.ndarray]]:
    info = clip.audio[track]
    if frame.sample_rate != info.rate or len(frame.layout.channels) != info.channels:
        raise BadInputError(f"{clip.path}: its sound changes rate or channels on the way; convert it first")
    position = None
    if frame.pts is not None:
        position = sample_count(frame.pts * frame.time_base - clip.origin, info.rate)
    for piece in convert.resample(frame):
        values = piece.to_ndarray().reshape(-1, info.channels)
        if position is not None and end is not None:
            values = values[: max(end - position, 0)]
        yield position, values


def _resampled(samples: Iterator[np.ndarray], source_rate: Fraction, rate: Fraction) -> Iterator[np.ndarray]:
    """soxr over a stream; n samples become sample_count(n / source_rate, rate)."""
    import soxr

    stream, taken, given = None, 0, 0
    for values in samples:
        stream = stream or soxr.ResampleStream(
            float(source_rate), float(rate), values.shape[1], dtype="float32", quality="VHQ"
        )
        taken += len(values)
        made = stream.resample_chunk(values)
        given += len(made)
        yield made
    if stream is not None:
        rest = stream.resample_chunk(np.zeros_like(values[:0]), last=True)
        missing = sample_count(taken / source_rate, rate) - given
        yield rest[:missing]
        yield np.zeros((max(missing - len(rest), 0), values.shape[1]), np.float32)


def _exactly(samples: Iterator[np.ndarray], count: int, channels: int) -> Iterator[np.ndarray]:
    """The first `count` samples, followed by silence where there are fewer."""
    for values in samples:
        yield values[:count]
        count -= min(len(values), count)
        if not count:
            return
    silence = np.zeros((4096, channels), np.float32)
    for missing in range(count, 0, -len(silence)):
        yield silence[:missing]


def _blocks(samples: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    kept: list[np.ndarray] = []
    length = 0
    for values in samples:
        kept.append(values)
        length += len(values)
        while length >= size:
            joined = np.concatenate(kept)
            yield joined[:size]
            kept, length = [joined[size:]], length - size
    if length:
        yield np.concatenate(kept)


class SoundWriter:
    """Streams samples into a WAV or FLAC file (by suffix), written beside and renamed at a good end.

    subtype: "PCM_16", "PCM_24" or, for WAV, "FLOAT". Samples beyond 1 are clipped in PCM.

        with SoundWriter("rain.wav", rate=48000, channels=2, subtype="PCM_24") as writer:
            writer.write(samples)  # float [n, 2], or [n] for one channel

    Raises BadInputError for another suffix or a subtype that the format cannot hold.
    """

    def __init__(self, path: str | Path, rate: int, channels: int = 1, subtype: str = "PCM_16") -> None:
        import soundfile

        self.path = Path(path)
        format = self.path.suffix.lower().removeprefix(".").upper()
        if format not in ("WAV", "FLAC"):
            raise BadInputError(f"{path}: sound is written as .wav or .flac")
        if not soundfile.check_format(format, subtype):
            raise BadInputError(f"{path}: {format} cannot hold {subtype}; take PCM_16 or PCM_24")
        self._settings = (int(rate), channels, subtype)
        self._stack = ExitStack()

    def __enter__(self) -> SoundWriter:
        import soundfile

        with ExitStack() as stack:
            part = stack.enter_context(written_beside(self.path))
            self._file = stack.enter_context(soundfile.SoundFile(part, "w", *self._settings))
            self._stack = stack.pop_all()
        return self

    def write(self, samples: np.ndarray) -> None:
        """Appends float samples [n, C], or [n]."""
        try:
            self._file.write(samples)
        except RuntimeError as error:
            raise FailureError(f"{self.path}: could not be written ({error})") from error

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)
