"""The only room that opens containers: probing, frames at given times, samples, films, stream-copy muxing."""

from .film import write_film
from .frames import frames
from .loudness import read_loudness
from .mux import mux
from .probe import AudioInfo, Clip, VideoInfo, probe
from .sound import SoundWriter, read_sound, stream_sound

__all__ = [
    "AudioInfo",
    "Clip",
    "SoundWriter",
    "VideoInfo",
    "frames",
    "mux",
    "probe",
    "read_loudness",
    "read_sound",
    "stream_sound",
    "write_film",
]
