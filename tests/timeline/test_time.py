from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synchresis.timeline import Span, as_fraction, sample_count

fractions = st.fractions(-(10**6), 10**6, max_denominator=10**6)


@pytest.mark.parametrize(
    ("given_as", "meant"),
    [
        (0.1, Fraction(1, 10)),
        (29.97, Fraction(2997, 100)),
        (1 / 3, Fraction(1, 3)),
        ("30000/1001", Fraction(30000, 1001)),
        ("2.5", Fraction(5, 2)),
        (3, Fraction(3)),
        (np.float64(0.25), Fraction(1, 4)),
        (np.int64(7), Fraction(7)),
        (Fraction(22, 7), Fraction(22, 7)),
    ],
)
def test_numbers_mean_what_a_person_wrote(given_as, meant):
    assert as_fraction(given_as) == meant


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "abc", "1/0", ""])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="not a"):
        as_fraction(bad)


@given(st.integers(-(10**6), 10**6), st.integers(1, 30000))
def test_small_fractions_survive_being_a_float(top, bottom):
    assert as_fraction(top / bottom) == Fraction(top, bottom)


@given(fractions, st.fractions(1, 10**6, max_denominator=1001))
def test_sample_count_is_the_nearest_with_halves_up(duration, rate):
    error = sample_count(duration, rate) - duration * rate
    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(fractions, fractions, fractions)
def test_spans_are_half_open_and_shift_exactly(a, b, t):
    span = Span(min(a, b), max(a, b))
    assert span.contains(t) == (span.start <= t < span.end)
    assert span.shift(t).shift(-t) == span
    assert span.shift(t).duration == span.duration


@given(fractions, fractions, fractions, fractions, fractions)
def test_an_intersection_holds_what_both_hold(a, b, c, d, t):
    one, two = Span(min(a, b), max(a, b)), Span(min(c, d), max(c, d))
    both = one.intersect(two)
    assert both == two.intersect(one)
    assert (one.contains(t) and two.contains(t)) == (both is not None and both.contains(t))


def test_a_span_cannot_run_backwards():
    with pytest.raises(ValueError, match="span"):
        Span(Fraction(2), Fraction(1))
