import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synchresis.timeline import Span, Track, concat, resample_sound, sample_count

rates = st.sampled_from([Fraction(8), Fraction(25), Fraction(100), Fraction(30000, 1001), Fraction(7, 3)])
starts = st.fractions(-10, 10, max_denominator=1000)


@st.composite
def tracks(draw, smallest=1):
    count = draw(st.integers(smallest, 60))
    width = draw(st.sampled_from([(), (3,)]))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(count, *width))
    return Track(values, draw(rates), draw(starts))


@given(tracks(), st.lists(st.fractions(0, 1, max_denominator=997), max_size=5))
def test_slices_of_neighbouring_spans_join_to_the_whole(track, cuts):
    edges = [track.start, *(track.start + cut * track.duration for cut in sorted(cuts)), track.span.end]
    pieces = [track.slice(Span(a, b)) for a, b in itertools.pairwise(edges)]
    whole = concat(pieces)
    assert np.array_equal(whole.values, track.values)
    assert (whole.rate, whole.start) == (track.rate, track.start)


@given(tracks(), starts, st.fractions(0, 5, max_denominator=100))
def test_a_slice_holds_the_cells_whose_centre_is_inside(track, start, length):
    span = Span(start, start + length)
    inside = [
        value for i, value in enumerate(track.values) if span.contains(track.start + (i + Fraction(1, 2)) / track.rate)
    ]
    piece = track.slice(span)
    assert np.array_equal(piece.values, np.array(inside).reshape(-1, *track.values.shape[1:]))
    for time, value in zip(piece.times(), piece.values, strict=True):
        assert np.allclose(track.at(time)[0], value)


@given(tracks())
def test_reading_at_the_centres_gives_the_values_and_the_ends_are_held(track):
    assert np.allclose(track.at(track.times()), track.values)
    assert np.array_equal(track.at(float(track.start) - 5)[0], track.values[0])
    assert np.array_equal(track.at(float(track.span.end) + 5)[0], track.values[-1])


@given(tracks(), rates, st.sampled_from(["linear", "nearest", "mean"]))
def test_resampling_keeps_the_span_and_stays_within_the_values(track, rate, kind):
    other = track.resample(rate, kind=kind)
    assert len(other) == sample_count(track.duration, rate)
    assert (other.start, other.rate) == (track.start, rate)
    if len(other):
        assert other.values.min() >= track.values.min() - 1e-9
        assert other.values.max() <= track.values.max() + 1e-9


@given(tracks(), st.sampled_from(["linear", "nearest", "mean"]))
def test_resampling_to_the_same_rate_changes_nothing(track, kind):
    assert np.allclose(track.resample(track.rate, kind=kind).values, track.values)


@given(tracks(), st.integers(1, 6))
def test_mean_keeps_the_integral_and_nearest_repeats(track, factor):
    finer = track.resample(track.rate * factor, kind="nearest")
    assert np.array_equal(finer.values, np.repeat(track.values, factor, axis=0))
    back = finer.resample(track.rate, kind="mean")
    assert np.allclose(back.values, track.values)


def test_mean_weighs_cells_by_how_much_of_them_is_covered():
    track = Track(np.array([0.0, 6.0, 12.0]), 3)
    assert track.resample(2, kind="mean").values == pytest.approx([2.0, 10.0])


def test_a_ramp_read_elsewhere_is_the_ramp_there():
    """No hidden shift of half a cell: the value of a cell is that of its centre."""
    coarse = Track(np.arange(100) / 25 + 0.02, 25)
    fine = coarse.resample(100, Span(Fraction(1), Fraction(2)))
    assert fine.values == pytest.approx(fine.times())


def test_joining_needs_the_same_rate_and_no_gap():
    first = Track(np.zeros(5), 10)
    with pytest.raises(ValueError, match="Hz"):
        concat([first, Track(np.zeros(5), 20, Fraction(1, 2))])
    with pytest.raises(ValueError, match="starts at"):
        concat([first, Track(np.zeros(5), 10, 1)])


def test_a_track_needs_time_and_a_rate():
    with pytest.raises(ValueError, match="along time"):
        Track(np.float64(1), 10)
    with pytest.raises(ValueError, match="rate"):
        Track(np.zeros(3), 0)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 5000),
    st.sampled_from([8000, 22050, 44100, 48000]),
    st.sampled_from([16000, 32000, 44100, 48000]),
    st.sampled_from([(), (2,)]),
)
def test_resampled_sound_is_as_long_as_it_was(count, rate, new_rate, width):
    sound = Track(np.ones((count, *width), np.float32), rate, Fraction(1, 3))
    other = resample_sound(sound, new_rate)
    assert len(other) == sample_count(sound.duration, new_rate)
    assert (other.start, other.values.dtype) == (Fraction(1, 3), np.float32)


def test_a_tone_keeps_its_phase_through_resampling():
    time = np.arange(44100) / 44100
    other = resample_sound(Track(np.sin(2 * np.pi * 440 * time), 44100), 32000)
    wanted = np.sin(2 * np.pi * 440 * np.arange(32000) / 32000)
    assert np.abs(other.values - wanted)[500:-500].max() < 1e-4
