"""Films from arrays: what the stage renders and what tests read back."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from ..errors import BadInputError, FailureError
from ..timeline import Track, sample_count, written_beside
from ..timeline.time import Number, as_fraction


def write_film(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: Number,
    sound: Track | None = None,
    crf: int = 18,
    preset: str = "veryfast",
    tags: dict[str, str] | None = None,
) -> None:
    """Writes frames uint8 [H, W, 3] as H.264 (yuv420p), with `sound` [T] or [T, C] as AAC: mp4, mov or mkv.

    Frame i is shown from i / fps on. The sound must start at 0; it is cut or padded with silence to the
    length of the picture. H.264 needs even sizes: an odd edge is repeated once. crf: 0 is lossless, 51
    the worst.
    Written beside and renamed. Raises BadInputError for another suffix or no frame at all.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        raise BadInputError(f"{path}: films are written as .mp4, .mov or .mkv")
    fps = as_fraction(fps).limit_denominator(2**31 - 1)
    try:
        with written_beside(path) as part, av.open(str(part), "w") as container:
            container.metadata.update(tags or {})
            _write(container, path, frames, fps, sound, {"crf": str(crf), "preset": preset})
    except (av.error.FFmpegError, OSError) as error:
        raise FailureError(f"{path}: could not be written ({error})") from error


def _write(
    container: av.container.OutputContainer,
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction,
    sound: Track | None,
    options: dict[str, str],
) -> None:
    picture = container.add_stream("libx264", rate=fps, options=options)
    picture.pix_fmt = "yuv420p"
    picture.codec_context.time_base = 1 / fps
    voice = _Voice(container, sound) if sound is not None else None
    count = 0
    for pixels in frames:
        pixels = np.pad(pixels, [(0, n % 2) for n in pixels.shape[:2]] + [(0, 0)], mode="edge")
        if not count:
            picture.height, picture.width = pixels.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        frame.pts, frame.time_base = count, 1 / fps
        container.mux(picture.encode(frame))
        count += 1
        if voice:
            voice.until(count / fps)
    if not count:
        raise BadInputError(f"{path}: a film needs at least one frame")
    container.mux(picture.encode(None))
    if voice:
        voice.finish()


class _Voice:
    """The sound of the film, encoded as far as the picture has come."""

    def __init__(self, container: av.container.OutputContainer, sound: Track) -> None:
        self._container, self._done = container, 0
        self._values = sound.values.reshape(len(sound.values), -1)
        self._rate = int(sound.rate)
        layout = {1: "mono", 2: "stereo"}[self._values.shape[1]]
        self._stream = container.add_stream("aac", rate=self._rate, layout=layout, bit_rate=192_000)

    def until(self, time: Fraction) -> None:
        """Encodes up to `time` (s), with silence where the sound has ended."""
        stop = sample_count(time, self._rate)
        values = self._values[self._done : stop].astype(np.float32)
        missing = np.zeros((stop - self._done - len(values), values.shape[1]), np.float32)
        planes = np.ascontiguousarray(np.concatenate([values, missing]).T)
        frame = av.AudioFrame.from_ndarray(planes, "fltp", self._stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        self._container.mux(self._stream.encode(frame))
        self._done = stop

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
