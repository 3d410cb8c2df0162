"""Putting a sound under a film without touching the film: packets are copied, never encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.container
import av.error
import av.stream
import numpy as np

from ..errors import BadInputError, FailureError
from ..timeline import sample_count, written_beside
from .edits import end_picture_at
from .probe import Clip, opened, packets, picture_stream, probe
from .sound import stream_sound

Original = Literal["drop", "keep", "mix"]

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
# What the muxers write themselves, and what Apple's classic tags can hold; other tags need the newer kind.
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "software"}
_CLASSIC_TAGS = {"title", "artist", "album", "date", "genre", "copyright", "creation_time"}

# Containers with edit lists.
_EDITED = (".mp4", ".m4v", ".mov")


@dataclass(frozen=True)
class _Container:
    """How a container wants its sound: encoder, sample format, the rates it takes (None: any)."""

    encoder: str
    format: str
    rates: tuple[int, ...] | None
    bits_per_second: int | None = None


_CONTAINERS = {
    ".mp4": _Container("aac", "fltp", _AAC_RATES, 96_000),
    ".m4v": _Container("aac", "fltp", _AAC_RATES, 96_000),
    ".mov": _Container("aac", "fltp", _AAC_RATES, 96_000),
    ".mkv": _Container("flac", "s32", None),
    ".webm": _Container("libopus", "flt", (48000,), 80_000),
    ".avi": _Container("pcm_s16le", "s16", None),
}


def mux(
    clip: Clip | str | Path,
    sound: str | Path | None,
    out: str | Path,
    original: Original = "drop",
    overwrite: bool = False,
    title: str | None = None,
) -> tuple[str, ...]:
    """Writes the film with `sound` (any file that read_sound reads) as its first and default sound track.

    The packets of the picture are copied bit for bit, and so is every other stream; chapters, rotation and
    tags are kept. The sound is cut or padded with silence so that it starts and ends with the picture, to the
    sample, and encoded as the container (suffix of `out`) wants: AAC in mp4, m4v and mov, FLAC in mkv, Opus in
    webm, 16 bit PCM in avi. original: what becomes of the sound tracks that the film had: "drop" leaves them
    out, "keep" puts them after the new one, "mix" adds the first of them to it (lowered together if the sum
    would clip) and leaves them out. sound None: a copy with nothing added.

    Returns one line for each stream of unknown data that the container could not take. Written beside and
    renamed. Raises BadInputError if `out` exists (unless overwrite), is the film itself, or is a container that
    cannot hold a stream; FailureError if writing fails.
    """
    clip, out = probe(clip), Path(out)
    target = _CONTAINERS.get(out.suffix.lower())
    if target is None:
        raise BadInputError(f"{out}: films are written as {', '.join(_CONTAINERS)}")
    if original not in ("drop", "keep", "mix"):
        raise BadInputError(f"original {original!r}: must be drop, keep or mix")
    if clip.video is None:
        raise BadInputError(f"{clip.path}: has no picture to put a sound under")
    if out.exists() and out.samefile(clip.path):
        raise BadInputError(f"{out}: is the film itself; give another name")
    if out.exists() and not overwrite:
        raise BadInputError(f"{out}: exists already; ask to overwrite it or give another name")
    if clip.video.hidden and out.suffix.lower() not in _EDITED:
        raise BadInputError(
            f"{out}: an edit list hides frames of {clip.path}, and {out.suffix} would show them; take .mp4 or .mov"
        )
    voice = _Voice(clip, probe(sound), target, original == "mix") if sound is not None else None
    try:
        with opened(clip.path) as source, written_beside(out) as part:
            tags = _tags(clip, title)
            with av.open(str(part.absolute()), "w", options=_options(out, tags, voice)) as result:
                result.metadata.update(tags)
                lost, tail = _copy(clip, source, result, out, voice, original == "keep")
            if tail:
                end_picture_at(part, clip.duration)
            return lost
    except (av.error.FFmpegError, OSError) as error:
        raise FailureError(f"{out}: could not be written ({error})") from error


def _tags(clip: Clip, title: str | None) -> dict[str, str]:
    tags = {key: value for key, value in clip.tags.items() if key.lower() not in _OWN_TAGS}
    return {**tags, "title": title} if title else tags


def _options(out: Path, tags: dict[str, str], voice: _Voice | None) -> dict[str, str]:
    if out.suffix.lower() not in _EDITED:
        return {"fflags": "+bitexact"}  # or Matroska draws a random identifier, and no take is made twice
    # Edit lists are counted in the time scale of the film: with that of the sound they are exact.
    options = {"movie_timescale": str(voice.rate)} if voice else {}
    if set(tags) - _CLASSIC_TAGS:
        options["movflags"] = "use_metadata_tags"
    return options


def _copy(
    clip: Clip,
    source: av.container.InputContainer,
    result: av.container.OutputContainer,
    out: Path,
    voice: _Voice | None,
    keep: bool,
) -> tuple[tuple[str, ...], bool]:
    """Copies the packets; the streams that were left out, and whether an edit list hides the last frames."""
    picture = picture_stream(source)
    assert picture is not None
    copies = {picture.index: _twin(result, picture, clip, out)}
    if voice:
        voice.join(result)
    lost = []
    for stream in source.streams:
        if stream is picture or stream.discard == av.stream.Discard.all:  # a track of chapter titles
            continue
        if stream.type == "audio" and not keep:
            continue
        if stream.type == "data":
            lost.append(f"{clip.path}: its data stream {stream.index} is not kept")
            continue
        copies[stream.index] = _twin(result, stream, clip, out)
        if stream.type == "audio" and voice:
            copies[stream.index].disposition &= ~av.stream.Disposition.default
    if out.suffix.lower() == ".avi" and (picture.codec_context.extradata or b"").startswith(b"\x01"):
        raise BadInputError(
            f"{out}: {picture.codec_context.name} as {clip.path.suffix} packs it does not go into .avi untouched; "
            f"take .mkv or {clip.path.suffix}"
        )
    result.set_chapters(source.chapters())
    result.start_encoding()
    if voice and out.suffix.lower() == ".avi":
        voice.lead()
    # The pauses of mp4 subtitles are packets; the writer makes its own.
    paused = {s.index for s in source.streams.subtitles if s.codec_context.name == "mov_text"}
    tail = False
    wanted = [stream for stream in source.streams if stream.index in copies]
    for packet in packets(source, *wanted):
        if packet.is_discard and packet.stream_index == picture.index and packet.pts is not None:
            tail = tail or packet.pts * picture.time_base - clip.origin >= clip.duration
        if voice and packet.stream_index == picture.index and packet.dts is not None:
            voice.until(packet.dts * picture.time_base - clip.origin)
        if packet.stream_index in paused and bytes(packet) == b"\0\0":
            continue
        packet.stream = copies[packet.stream_index]
        result.mux_one(packet)
    if voice:
        voice.until(clip.duration)
        voice.finish()
    return tuple(lost), tail


def _twin(result: av.container.OutputContainer, stream: av.stream.Stream, clip: Clip, out: Path) -> av.stream.Stream:
    """A stream of the result that takes the packets of `stream` as they are."""
    codec = stream.codec_context.name if stream.codec_context else None
    fits = stream.type == "attachment" and out.suffix.lower() == ".mkv"
    if not fits and codec not in result.supported_codecs:
        what = f"{codec} {stream.type}" if codec else stream.type
        raise BadInputError(
            f"{out}: {out.suffix} cannot hold the {what} of {clip.path}; take .mkv or {clip.path.suffix}"
        )
    twin = result.add_stream_from_template(stream, opaque=True)
    twin.time_base = stream.time_base
    if stream.type == "video" and stream.average_rate:
        twin.codec_context.framerate = stream.average_rate  # mkv writes it; the codec's own clock may differ
    twin.metadata.update(stream.metadata)
    twin.disposition = stream.disposition
    return twin


class _Voice:
    """The new sound: read, mixed and encoded as far as the picture has come."""

    def __init__(self, clip: Clip, sound: Clip, target: _Container, mix: bool) -> None:
        if not sound.audio:
            raise BadInputError(f"{sound.path}: has no sound")
        self._clip, self._target = clip, target
        rate = sound.audio[0].rate
        self.rate = rate if target.rates is None or rate in target.rates else 48000
        self._channels = sound.audio[0].channels
        sources = [sound]
        if mix and clip.audio:
            self._channels = max(self._channels, clip.audio[0].channels)
            sources.append(clip)
        if self._channels not in _LAYOUTS:
            raise BadInputError(f"{sound.path}: {self._channels} channels are too many; mix it down first")
        gain = 1.0
        if len(sources) > 1:
            peak = max((float(np.abs(block).max()) for block in self._sum(sources)), default=0.0)
            gain = min(1.0, 1.0 / peak) if peak > 0 else 1.0
        self._blocks = (block * np.float32(gain) for block in self._sum(sources))
        self._done = 0
        # The sound begins where the picture does on the axis of the file.
        self._start = sample_count(clip.origin, self.rate)

    def _sum(self, sources: list[Clip]) -> Iterator[np.ndarray]:
        """Blocks [n, channels] over the span of the picture: the sources added up."""
        streams = [stream_sound(source, self.rate, span=self._clip.span) for source in sources]
        for blocks in zip(*streams, strict=True):
            yield np.sum([_spread(block, self._channels) for block in blocks], axis=0)

    def join(self, result: av.container.OutputContainer) -> None:
        self._result = result
        self._stream = result.add_stream(
            self._target.encoder,
            rate=self.rate,
            layout=_LAYOUTS[self._channels],
            format=self._target.format,
        )
        if self._target.bits_per_second:
            self._stream.bit_rate = self._target.bits_per_second * self._channels
        self._stream.disposition = av.stream.Disposition.default

    def until(self, time: Fraction) -> None:
        """Encodes at least up to clip time `time` (s)."""
        while self._done < sample_count(time, self.rate):
            block = next(self._blocks, None)
            if block is None:
                return
            self._encode(block, self._start + self._done)
            self._done += len(block)

    def _encode(self, block: np.ndarray, position: int) -> None:
        if not len(block):
            return
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "flt", _LAYOUTS[self._channels])
        frame.sample_rate, frame.pts, frame.time_base = self.rate, position, Fraction(1, self.rate)
        self._result.mux(self._stream.encode(frame))

    def lead(self) -> None:
        """Silence up to the picture, for a container whose tracks all begin at 0."""
        self._encode(np.zeros((self._start, self._channels), np.float32), 0)

    def finish(self) -> None:
        self._result.mux(self._stream.encode(None))


def _spread(block: np.ndarray, channels: int) -> np.ndarray:
    """One channel goes to left and right; several go to the first of many."""
    if block.shape[1] == 1:
        block = np.repeat(block, min(channels, 2), axis=1)
    return np.pad(block, [(0, 0), (0, channels - block.shape[1])])
