"""Stable-Foley's envelope and its classes, by definition."""

import numpy as np
import pytest

from synchresis.timeline import rms_codes as rms


def test_running_sums_are_the_definition() -> None:
    sound = np.random.default_rng(0).standard_normal((2, 3000))
    got = rms.window_rms(sound, 700)
    for n in (0, 10, 699, 700, 2999):
        window = sound[:, max(0, n - 699) : n + 1]
        assert np.allclose(got[:, n], np.sqrt((window**2).sum(-1) / 700))
    box = rms.box_filtered(got, 200)
    padded = np.pad(got, ((0, 0), (100, 100)))
    for n in (0, 99, 1500, 2999):
        assert np.allclose(box[:, n], padded[:, n : n + 200].mean(-1))
    with pytest.raises(ValueError, match="even"):
        rms.box_filtered(got, 201)


def test_a_hit_rises_at_once_and_is_held() -> None:
    sound = np.zeros(44_100)
    sound[20_000:20_050] = 1.0
    rise = rms.window_rms(sound)
    assert not rise[:20_000].any()
    assert rise[20_050] == pytest.approx(np.sqrt(50 / 10_000))
    assert rise[29_999] == pytest.approx(rise[20_050])
    assert rise[30_050] < 1e-6


def test_a_quiet_end_after_a_loud_film_is_quiet() -> None:
    """Differences of running sums: what is left after two minutes of sound is nothing, not noise."""
    sound = np.concatenate([np.random.default_rng(0).standard_normal(120 * 8_000), np.zeros(20_000)])
    assert rms.window_rms(sound)[-1] < 1e-6


def test_classes_there_and_back() -> None:
    classes = np.arange(64)
    assert np.array_equal(rms.classes_of(rms.expanded(classes)), classes)
    assert rms.classes_of(np.array([0.0, 1.0, 2.0])).tolist() == [0, 63, 63]
    # A class is no wider than 2/127 companded, and decodes inside itself.
    values = np.geomspace(1e-3, 0.95, 500)
    back = rms.expanded(rms.classes_of(values))
    compand = np.log1p(127 * np.stack([values, back])) / np.log(128)
    assert np.abs(compand[0] - compand[1]).max() < 2 / 127


def test_ten_seconds_are_300_classes_and_back() -> None:
    """A swelling envelope through 300 classes: within the width of a class everywhere."""
    count = 441_000
    envelope = 0.3 * np.sin(np.pi * np.arange(count) / count) ** 2
    places = np.linspace(0, count - 1, 300).round().astype(int)
    classes = rms.classes_of(envelope[places])
    assert classes.shape == (300,)
    curve = rms.curve_of(classes, count)
    compand = np.log1p(127 * np.stack([envelope, curve])) / np.log(128)
    assert np.abs(compand[0] - compand[1]).max() < 0.03
    assert rms.curve_of(np.array([5]), 10).tolist() == pytest.approx([rms.expanded(np.array(5))] * 10)


def test_labels_of_a_constant_clip_are_zero_not_nan() -> None:
    assert rms.labels_of(np.full((1, 400), 0.2), 30).tolist() == [[0] * 30]


def test_smoothed_labels_are_distributions() -> None:
    soft = rms.smoothed(np.array([0, 30, 63]))
    assert soft.shape == (3, 64)
    assert np.allclose(soft.sum(-1), 1)
    assert soft.argmax(-1).tolist() == [0, 30, 63]
    assert (soft > 0).sum(-1).tolist() == [3, 5, 3]
    assert soft[1, 31] / soft[1, 30] == pytest.approx(np.exp(-0.5))


def test_envelope_distance() -> None:
    sound = np.random.default_rng(1).standard_normal(20_000) * 0.1
    assert rms.envelope_l1(sound, sound) == 0
    assert rms.envelope_l1(2 * sound, sound) == pytest.approx(rms.framed_rms(sound).mean())
    assert rms.envelope_l1(sound[:10_000], sound) > 0.02
    assert rms.envelope_l1(np.concatenate([sound, sound]), sound) == 0
