"""The time base: exact seconds, spans, and sampled tracks."""

from .beside import written_beside
from .time import Span, as_fraction, sample_count
from .track import Track, concat, resample_sound

__all__ = ["Span", "Track", "as_fraction", "concat", "resample_sound", "sample_count", "written_beside"]
