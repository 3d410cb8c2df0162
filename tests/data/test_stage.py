"""The stage: what is drawn and what is heard come from the same instants."""

import time
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synchresis.data.stage import KINDS, film
from synchresis.data.stage.canvas import Canvas, Shape, View, limb, rectangle
from synchresis.data.stage.film import Film
from synchresis.data.stage.motion import draw_bounces, draw_strokes, rhythm
from synchresis.data.stage.scenes import covered, make
from synchresis.data.stage.strikes import push, stick
from synchresis.data.stage.things import Act, Cast
from synchresis.errors import BadInputError
from synchresis.timeline import Track, detect_onsets, match, rms_envelope

CONTACT_KINDS = ("wood", "metal", "glass", "plastic", "drum", "bounce", "footsteps", "splash", "clock", "bell")
seeds = st.integers(0, 2**31)
Way = Callable[[str, Cast], Act]


def cast(seed: int, hardness: float = 0.0, rough: float = 0.0) -> Cast:
    return Cast(np.random.default_rng(seed), 0.0, 3.0, 1.0, hardness, rough)


# ------------------------------------------------------------------------------- mechanics


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_stroke_touches_at_its_time_and_is_stopped_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strokes = draw_strokes(rng, rhythm(rng, 0.0, 3.0), rng.uniform(0.1, 0.5), dodge=0.3, restless=0.1)
    step = 1e-5
    at, before, after = (strokes.gap(strokes.times + dt) for dt in (0.0, -step, step))
    lands = strokes.lands
    assert np.allclose(at[lands], 0, atol=1e-9)
    assert np.allclose(at[~lands] / strokes.miss, 1, atol=0.7)
    incoming, outgoing = (before - at) / step, (after - at) / step
    assert np.allclose(incoming[lands], strokes.speeds()[lands], rtol=2e-3)
    assert (outgoing[lands] < 0.6 * incoming[lands]).all()
    assert (np.abs(incoming[~lands]) < 1.0).all()  # a dodged stroke comes to rest softly
    grid = np.arange(-1.0, 4.0, 1e-3)
    fine = strokes.gap(grid)
    assert (fine >= 0).all()
    last = np.searchsorted(strokes.times, grid, side="right") - 1
    follows = np.minimum(last + 1, len(lands) - 1)
    dodging = (last >= 0) & ~lands[np.maximum(last, 0)] & ~lands[follows]
    assert (fine[dodging] > 0.2 * strokes.miss).all()  # and stays away
    assert np.abs(np.diff(fine)).max() < 1.6e-3 * max(strokes.speeds().max(), 8.0)  # no jumps


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_bouncing_body_is_on_the_ground_at_each_contact_and_above_it_between(seed: int) -> None:
    bounces = draw_bounces(np.random.default_rng(seed), 0.4, 3.0, 0.5)
    assert np.allclose(bounces.gap(bounces.times), 0, atol=1e-9)
    middles = (bounces.times[1:] + bounces.times[:-1]) / 2
    assert (bounces.gap(middles) > 1e-4).all()
    assert (np.diff(bounces.speeds) < 0).all()


# ------------------------------------------------------------------------------- a film is a function


def as_bytes(made: Film) -> bytes:
    return b"".join(picture.tobytes() for picture in made.frames) + made.sound.values.tobytes()


@pytest.mark.parametrize("seed", [3, 11])
def test_same_seed_same_bytes(seed: int) -> None:
    first, second = film(seed, seconds=1.0), film(seed, seconds=1.0)
    assert as_bytes(first) == as_bytes(second)
    assert first.caption == second.caption
    assert np.array_equal(first.visible, second.visible)
    assert as_bytes(first) != as_bytes(film(seed + 1, seconds=1.0))


def test_what_happens_does_not_depend_on_the_size_of_the_picture() -> None:
    small, large = film(5), film(5, size=(192, 192))
    assert np.array_equal(small.onsets.times, large.onsets.times)
    assert np.array_equal(small.sound.values, large.sound.values)
    assert next(iter(large.frames)).shape == (192, 192, 3)


def test_single_pictures_are_those_of_the_whole_film() -> None:
    made = film(8, seconds=2.0, hardness=0.9)
    whole = list(made.frames)
    some = [1, 2, 2, 17, len(whole) - 1]
    for number, picture in zip(some, made.pictures(some), strict=True):
        assert np.array_equal(picture, whole[number])


@pytest.mark.parametrize("fps", ["12", "24000/1001", "25", "30000/1001", "60"])
def test_every_rate_covers_the_duration(fps: str) -> None:
    made = film(2, fps=fps, seconds=1.2)
    count = len(list(made.frames))
    assert made.fps == Fraction(fps)
    assert (count - 1) / made.fps < made.duration <= count / made.fps
    assert len(made.sound) == 38400
    assert len(made.loudness) == 120
    assert len(made.visible_source) == 60
    for number in (0, count - 1):
        assert 0 <= made.instant(number) - number / float(made.fps) < 1 / float(made.fps)


# ------------------------------------------------------------------------------- picture and sound agree


def pixel_motion(made: Film) -> np.ndarray:
    """Mean absolute change from each frame to the next."""
    frames = np.stack([picture.astype(np.int16) for picture in made.frames])
    return np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("kind", ["wood", "plastic", "bounce", "splash", "clock", "bell"])
def test_what_moves_slows_down_within_a_frame_of_the_contact(kind: str) -> None:
    slowed = []
    for seed in range(3):
        made = film(seed, kinds=[kind], ugly=False, fps=50)
        motion = pixel_motion(made)
        for instant in made.onsets.times * 50:
            before, after = int(np.floor(instant)), int(np.ceil(instant))
            if before >= 2 and after + 2 <= len(motion):
                slowed.append(motion[before - 2 : before].mean() > motion[after : after + 2].mean())
    assert len(slowed) >= 6
    assert np.mean(slowed) >= 0.8


@pytest.mark.parametrize("way", [stick, push])
@pytest.mark.parametrize("seed", range(6))
def test_the_tool_touches_the_struck_body_at_the_contact_and_never_enters_it(way: Way, seed: int) -> None:
    act = way("wood", cast(seed))
    for time_, place in zip(act.contacts.times, act.contacts.places, strict=True):
        before, at = act.shapes(np.array([time_ - 0.05])), act.shapes(np.array([time_]))
        moved = [
            late.points[0]
            for early, late in zip(before, at, strict=True)
            if np.abs(late.points - early.points).max() > 0.03 and len(late.points[0]) != 8  # 8: arms
        ]
        tip = np.concatenate(moved)
        under = tip[np.abs(tip[:, 0] - place[0]) < 0.13]
        assert under[:, 1].max() == pytest.approx(0.0, abs=0.006)


def test_the_ball_touches_the_ground_at_the_contact() -> None:
    act = make("bounce", cast(4))
    first = float(act.contacts.times[0])
    lowest = []
    for instant in (first, first - 0.08):
        ball = next(s for s in act.shapes(np.array([instant])) if s.points.shape[1] == 22)
        lowest.append(ball.points[0, :, 1].max())
    assert lowest[0] == pytest.approx(0.0, abs=0.004)
    assert lowest[1] < -0.02


@pytest.mark.parametrize("kind", CONTACT_KINDS)
def test_the_sound_begins_at_the_contacts(kind: str) -> None:
    found = true = hit = 0
    for seed in range(5):
        made = film(100 + seed, kinds=[kind], ugly=False)
        times = made.onsets.times
        alone = np.diff(times, prepend=-1.0) > 0.15  # what follows faster melts into what rings
        heard = detect_onsets(made.sound)
        loud = made.onsets.strengths > 0.35
        true += int((alone & loud).sum())
        hit += match(heard.times, times[alone & loud], 0.03)
        found += match(heard.times, times, 0.05) - len(heard)
    assert true >= 5
    assert hit >= 0.8 * true
    bubbles = 0.6 if kind == "splash" else 0.3  # which follow the drop and are heard as well
    assert -found <= bubbles * true  # hardly any attack where nothing touches


@pytest.mark.parametrize("kind", ["scrape", "rolling", "pour", "wind", "rain"])
def test_a_continuous_sound_follows_what_drives_the_motion(kind: str) -> None:
    scores = []
    for seed in range(4):
        made = film(seed, kinds=[kind], ugly=False)
        act = made.shots[0].sources[0].act
        assert act.control is not None
        level = rms_envelope(made.sound, 10).values
        drive = act.control((np.arange(len(level)) + 0.5) / 10)
        scores.append(np.corrcoef(level, drive)[0, 1])
    assert np.mean(scores) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_moves_sounds_and_has_a_caption(kind: str) -> None:
    made = film(1, kinds=[kind], ugly=False, seconds=2.0)
    assert made.kinds == (kind,)
    assert len(made.caption) > 8
    assert pixel_motion(made).max() > 0.02
    assert 0.005 < np.abs(made.sound.values).max() <= 1
    assert made.visible_source.values.max() > 0.3
    assert len(made.onsets) == len(made.visible)
    if kind in CONTACT_KINDS:
        assert len(made.onsets) >= 1
        assert made.onsets.times.min() >= 0
        assert made.onsets.times.max() < 2.0
    for short in (0.04, 0.5):  # the ugliest, and too short for much
        rough = film(1, kinds=[kind], hardness=1.0, seconds=short)
        assert len(list(rough.frames)) == rough.count
        assert (rough.onsets.times < short).all()


def test_loudness_is_that_of_the_sound() -> None:
    made = film(21)
    assert np.array_equal(made.loudness.values, rms_envelope(made.sound, 100).values)
    assert made.loudness.rate == 100


def test_recordings_take_the_place_of_sounds() -> None:
    beep = np.zeros(32000, np.float32)
    beep[8000:9600] = np.sin(np.arange(1600) * 2 * np.pi * 3000 / 32000)
    recordings = [SimpleNamespace(samples=beep, label="wood")]
    sounds = [film(s, kinds=["wood"], ugly=False, recordings=recordings) for s in range(8)]
    plain = [film(s, kinds=["wood"], ugly=False) for s in range(8)]
    changed = [a for a, b in zip(sounds, plain, strict=True) if not np.array_equal(a.sound.values, b.sound.values)]

    def pure(made: Film) -> float:
        power = np.abs(np.fft.rfft(made.sound.values)) ** 2
        hertz = np.fft.rfftfreq(len(made.sound), 1 / 32000)
        return float(power[np.abs(hertz - 3000) < 150].sum() / power.sum())

    beeping = [made for made in changed if pure(made) > 0.8]
    assert beeping
    for made in beeping:
        heard = detect_onsets(made.sound)
        assert match(heard.times, made.onsets.times, 0.03) >= 0.7 * len(heard) > 0


# ------------------------------------------------------------------------------- what can be seen


def test_harder_films_show_less() -> None:
    means = []
    for hardness in (0.0, 1.0):
        shown = [film(s, kinds=["wood"], hardness=hardness).visible for s in range(25)]
        means.append(np.concatenate(shown).mean())
    assert means[0] > 0.8
    assert means[1] < means[0] - 0.15


def test_what_is_covered_or_outside_or_at_a_cut_is_not_visible() -> None:
    square = Shape(rectangle(0.5, 0.5)[None], np.zeros(3))
    assert covered([square], np.zeros(2), 0.1) == 1
    assert covered([square], np.array([0.25, 0.0]), 0.1) == pytest.approx(0.5, abs=0.08)
    assert covered([square], np.array([0.6, 0.0]), 0.1) == 0
    close = 0
    for seed in range(100):
        made = film(seed, hardness=0.8, kinds=["plastic"])
        for cut in (shot.start for shot in made.shots[1:]):
            near = np.abs(made.onsets.times - cut) < 0.06
            assert (made.visible[near] <= 0.5).all()
            close += int(near.sum())
        for shot in made.shots:
            for placed in shot.sources:
                c = placed.contacts()
                spots = shot.look.view(c.times).project(c.places[:, None])[:, 0]
                far = np.abs(spots).max(axis=1) > 0.5 + 0.6 * c.sizes * shot.look.view(c.times).zoom + 0.02
                gone = np.isin(made.onsets.times, c.times[far])
                assert (made.visible[gone] <= 0.01).all()
    assert close > 0


def test_a_film_without_source_is_silent_and_says_so() -> None:
    made = film(4, kinds=())
    assert len(made.onsets) == 0
    assert not made.sound.values.any()
    assert not made.visible_source.values.any()
    assert pixel_motion(made).max() > 0
    drawn = [film(seed) for seed in range(120)]
    assert 2 <= sum(not made.kinds for made in drawn) <= 30
    assert np.median([made.hardness for made in drawn]) < 0.45
    assert sum(len(made.shots) > 1 for made in drawn) >= 8
    assert len({kind for made in drawn for kind in made.kinds}) >= 15


def test_visible_source_is_high_around_a_visible_contact_and_low_far_from_it() -> None:
    made = film(3, kinds=["splash"], ugly=False, seconds=4.0)
    track: Track = made.visible_source
    assert (track.at(made.onsets.times) > 0.9).all()
    still = film(0, kinds=["wood"], ugly=False, seconds=1.0)
    late = still.visible_source.times() > still.onsets.times[-1] + 0.35
    assert not still.visible_source.values[late].any()


# ------------------------------------------------------------------------------- drawing


def test_a_shape_lies_where_its_coordinates_say() -> None:
    zero, one = np.zeros(1), np.ones(1)
    square = Shape(rectangle(0.25, 0.25, 0.25, 0.0)[None], np.array([255.0, 255, 255]))
    picture = np.zeros((100, 200, 3), np.uint8)
    Canvas((100, 200), [square], View(zero, zero, zero, one)).draw(picture, 0)
    y, x = np.nonzero(picture[..., 0] > 127)
    assert x.mean() == pytest.approx(124.5, abs=0.6)
    assert y.mean() == pytest.approx(49.5, abs=0.6)
    assert len(x) == pytest.approx(625, rel=0.1)


def test_a_limb_reaches_from_joint_to_joint() -> None:
    a, b = np.array([[0.0, 0.0]]), np.array([[0.3, 0.1]])
    points = limb(a, b, 0.05, 0.02, np.zeros(3)).points[0]
    assert np.allclose((points[0] + points[5]) / 2, a[0])
    assert np.allclose((points[1] + points[4]) / 2, b[0])


def test_rendering_is_fast_enough_to_train_from() -> None:
    list(film(0).frames)
    begin = time.process_time()
    for seed in range(8):
        made = film(seed)
        count = made.count
        for _ in made.pictures([min(int((i + 0.5) / 25 * made.fps), count - 1) for i in range(75)]):
            pass
    assert (time.process_time() - begin) / 8 < 0.15  # 0.04 s on an idle core


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"kinds": ["thunder"]}, "thunder"),
        ({"seconds": 0}, "seconds"),
        ({"size": (4, 96)}, "size"),
        ({"fps": 0}, "fps"),
        ({"hardness": 2.0}, "hardness"),
    ],
)
def test_bad_wishes_are_named(wrong: dict, names: str) -> None:
    with pytest.raises(BadInputError, match=names):
        film(0, **wrong)
    with pytest.raises(BadInputError, match="seed"):
        film(-1)
