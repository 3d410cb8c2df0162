"""A film of the stage taken apart: which films can be, into how many bodies, and that nothing else decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synchresis.data.stage import film
from synchresis.data.stage.apart import Apart, apart
from synchresis.data.stage.canvas import Shape
from synchresis.data.stage.film import Film
from synchresis.data.stage.ugliness import Look
from synchresis.training.picture import KINDS

SIDE, SPREAD, BODIES = 64, 1.25, 7


def clean(seed: int, kind: str, seconds: float = 2.0, size: tuple[int, int] = (64, 64)) -> Film:
    return film(seed, size=size, seconds=seconds, ugly=False, kinds=[kind])


def taken(made: Film, bodies: int = BODIES) -> Apart | None:
    return apart(made, bodies, SIDE, SPREAD)


def same(one: Apart, other: Apart) -> bool:
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("layers", "motions", "shown"))


# ------------------------------------------------------------------------------- what cannot be told apart


def seen_from(look: Look) -> Apart | None:
    made = clean(3, "wood")
    assert taken(made) is not None
    return taken(replace(made, shots=(replace(made.shots[0], look=look),)))


@pytest.mark.parametrize("drift", [(0.05, 0.0, 0.0), (0.0, -0.05, 0.0), (0.0, 0.0, 0.02)])
def test_not_with_a_camera_that_moves(drift: tuple[float, float, float]) -> None:
    assert seen_from(Look(drift=drift)) is None
    assert seen_from(Look()) is not None


def test_not_over_a_cut() -> None:
    made = clean(3, "wood")
    shot = made.shots[0]
    cut = replace(made, shots=(replace(shot, end=1.0), replace(shot, start=1.0)))
    assert taken(cut) is None


def test_not_where_colours_change() -> None:
    made = clean(3, "wood")
    shot = made.shots[0]
    placed = shot.sources[0]

    def glowing(by: float) -> Film:
        def shapes(t: np.ndarray) -> list[Shape]:
            out = placed.act.shapes(t)
            out[-1].colour = out[-1].colour + by * t[:, None]
            return out

        source = replace(placed, act=replace(placed.act, shapes=shapes))
        return replace(made, shots=(replace(shot, sources=(source,)),))

    assert taken(glowing(20.0)) is None
    assert taken(glowing(0.0)) is not None


def test_not_with_more_bodies_than_there_may_be() -> None:
    made = clean(0, "wood")
    whole = taken(made)
    assert whole is not None
    assert len(whole.layers) > 3
    assert taken(made, 1) is None


@pytest.mark.parametrize("kind", ["splash", "rain", "fire", "engine", "wind"])
def test_not_what_runs_and_splashes(kind: str) -> None:
    assert all(taken(clean(seed, kind)) is None for seed in range(3))


def test_not_a_film_with_the_faults_of_real_footage() -> None:
    """Hand-held or cut; those whose camera stands still and that show one thing are none of these."""
    refused = 0
    for seed in range(12):
        made = film(seed, size=(64, 64), seconds=2, ugly=True, kinds=["wood"], hardness=0.8)
        view = made.shots[0].look.view(np.linspace(0, 2, 50))
        steady = np.ptp(view.x) + np.ptp(view.y) + np.ptp(view.roll) + np.ptp(view.zoom) == 0
        if len(made.shots) > 1 or not steady:
            refused += 1
            assert taken(made) is None
    assert refused > 8


# ------------------------------------------------------------------------------- what can


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS), st.integers(1, BODIES))
def test_there_are_never_more_bodies_than_there_may_be(seed: int, kind: str, most: int) -> None:
    made = clean(seed, kind, 1.0)
    got = taken(made, most)
    if got is None:
        return
    bodies = len(got.layers) - 1
    assert bodies <= most
    assert got.layers.shape == (1 + bodies, SIDE, SIDE, 4)
    assert got.layers.dtype == np.uint8
    assert got.motions.shape == (made.count, bodies, 2, 3)
    assert got.shown.shape == (made.count, bodies)
    assert np.isfinite(got.motions).all()
    assert (got.layers[0, ..., 3] == 255).all()
    assert (got.layers[1:, ..., :3] <= got.layers[1:, ..., 3:]).all()  # premultiplied


def test_most_films_of_each_kind_can_be_taken_apart() -> None:
    for kind in KINDS:
        assert sum(taken(clean(seed, kind, 1.0)) is not None for seed in range(10)) >= 8, kind


def test_balls_that_follow_each_other_are_one_body() -> None:
    """A ball and its shadow, however many are dropped one after the other."""
    several = 0
    for seed in range(12):
        made = clean(seed, "bounce", 6.0)
        instants = np.arange(made.count) / 25
        patterns = {shape.shown.tobytes() for shape in made.shots[0].shapes(instants) if shape.shown is not None}
        got = taken(made)
        assert got is not None
        assert len(got.layers) - 1 == 2
        several += len(patterns) > 1
        if len(patterns) > 1:  # the next one begins elsewhere, in one step
            jumps = np.abs(np.diff(got.motions[:, -1, :, 2], axis=0)).max(1)
            assert jumps.max() > 4 * np.median(jumps)
    assert several >= 4


def test_bodies_are_where_the_film_shows_them() -> None:
    """The last point of the last shape that moves, followed through every frame."""
    made = clean(11, "bell")
    got = taken(made)
    assert got is not None
    instants = np.arange(made.count) / 25
    contact = made.onsets.times[:1]
    shapes = made.shots[0].shapes(np.append(instants, contact))
    points = shapes[-1].points[:, -1]
    start = np.append(points[-1], 1.0)
    assert np.allclose(points[-1] + got.motions[:, -1] @ start, points[:-1], atol=0.03)
    assert np.ptp(points, axis=0).max() > 0.1


@pytest.mark.parametrize("kind", ["drum", "bounce", "clock"])
def test_it_is_a_function_of_the_film_alone(kind: str) -> None:
    made = clean(5, kind)
    before = [picture.tobytes() for picture in made.frames]
    one = taken(made)
    other, larger = taken(clean(5, kind)), taken(clean(5, kind, size=(96, 96)))
    assert one is not None
    assert other is not None
    assert larger is not None
    assert same(one, other)
    assert same(one, larger)  # of what happens, not of the pixels of the film
    assert [picture.tobytes() for picture in made.frames] == before
    different = taken(clean(6, kind))
    assert different is None or not same(one, different)
