"""The time base: exact seconds, spans, sampled tracks, onsets and loudness."""

from .beside import written_beside
from .envelope import correlation, impose_envelope, rms_envelope
from .files import (
    quantise_envelope,
    quantise_onsets,
    read_envelope,
    read_onsets,
    write_envelope,
    write_onsets,
)
from .onsets import Onsets, detect_onsets, f1, match, pick_peaks, shift_null
from .time import Span, as_fraction, sample_count
from .track import Track, concat, resample_sound

__all__ = [
    "Onsets",
    "Span",
    "Track",
    "as_fraction",
    "concat",
    "correlation",
    "detect_onsets",
    "f1",
    "impose_envelope",
    "match",
    "pick_peaks",
    "quantise_envelope",
    "quantise_onsets",
    "read_envelope",
    "read_onsets",
    "resample_sound",
    "rms_envelope",
    "sample_count",
    "shift_null",
    "write_envelope",
    "write_onsets",
    "written_beside",
]
