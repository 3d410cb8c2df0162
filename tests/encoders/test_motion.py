"""The motion grid: what moves is told in the right cell, with the right sign and speed, and nothing else."""

from fractions import Fraction

import numpy as np
import pytest

from synchresis.encoders.motion import (
    CHANNELS,
    SIDE,
    MotionEye,
    change,
    frame_numbers,
    mirrored,
    motion_grids,
    transposed,
    views,
)


def texture(seed: int, size: int = 160) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)


def scene(x: float, y: float, pan: int = 0, light: float = 1.0) -> np.ndarray:
    """A bright textured square of 24 pixels with its corner at (x, y) over a textured ground."""
    picture = texture(1)[:SIDE, pan : pan + SIDE].astype(np.float32)
    picture[round(y) : round(y) + 24, round(x) : round(x) + 24] = 0.5 * texture(2)[:24, :24] + 127
    return np.clip(picture * light, 0, 255).astype(np.uint8)


def test_a_moving_body_is_seen_in_its_cells_with_its_speed() -> None:
    grid = list(motion_grids([(0.0, scene(40, 40)), (0.04, scene(43, 40))]))[1]
    body = grid[:, 6:8, 6:8].mean(axis=(1, 2))
    assert body[CHANNELS.index("flow mean x")] == pytest.approx(3, abs=0.7)
    assert body[CHANNELS.index("flow mean y")] == pytest.approx(0, abs=0.3)
    assert np.abs(grid[:4, 9:, :]).max() < 0.3
    assert change(grid) > 0.01


def test_the_movement_of_the_camera_is_told_apart() -> None:
    grid = list(motion_grids([(0.0, scene(40, 40)), (0.04, scene(38, 40, pan=2))]))[1]
    assert np.allclose(grid[CHANNELS.index("camera x")], -2, atol=0.3)
    assert np.abs(grid[0:2]).mean() < 0.15


def test_light_on_the_whole_picture_is_no_event_as_a_moving_body_is() -> None:
    flicker = list(motion_grids([(0.0, scene(40, 40)), (0.04, scene(40, 40, light=0.97))]))[1]
    moving = list(motion_grids([(0.0, scene(40, 40)), (0.04, scene(44, 40))]))[1]
    assert flicker[6].max() < 0.2 * moving[6].max()


def test_speed_is_per_second_whatever_the_time_between_pictures() -> None:
    slow = list(motion_grids([(0.0, scene(40, 40)), (0.08, scene(44, 40))]))[1]
    fast = list(motion_grids([(0.0, scene(40, 40)), (0.04, scene(44, 40))]))[1]
    assert np.allclose(2 * slow[:4], fast[:4], atol=1e-5)


def test_a_picture_shown_again_holds_the_grid() -> None:
    eye = MotionEye()
    assert not eye.see(0.0, scene(40, 40)).any()
    seen = eye.see(0.04, scene(44, 40))
    assert np.array_equal(eye.see(0.04, scene(44, 40)), seen)


@pytest.mark.parametrize(
    ("change_picture", "change_grid"),
    [(lambda p: p[:, ::-1], mirrored), (lambda p: p.T, transposed)],
)
def test_mirrors_of_the_picture_and_of_the_grid_agree(change_picture, change_grid) -> None:  # type: ignore[no-untyped-def]
    pictures = [scene(40, 40), scene(43, 41), scene(46, 42)]
    straight = np.stack(list(motion_grids(enumerate(pictures))))
    seen_otherwise = [np.ascontiguousarray(change_picture(picture)) for picture in pictures]
    changed = np.stack(list(motion_grids(enumerate(seen_otherwise))))
    ours = change_grid(straight)
    # Differences agree exactly; flow is not symmetric to the last digit.
    assert np.allclose(ours[:, 4:7], changed[:, 4:7], atol=1e-5)
    assert np.corrcoef(ours[1:, :4].ravel(), changed[1:, :4].ravel())[0, 1] > 0.9
    assert np.array_equal(change_grid(ours), straight)


def test_views_are_the_whole_the_quadrants_and_the_centre() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (192, 192)).astype(np.uint8)
    seen = views(picture)
    assert seen.shape == (6, 96, 96)
    assert abs(float(seen[0].mean()) - float(picture.mean())) < 0.5
    assert np.array_equal(seen[4], picture[96:, 96:])
    assert np.array_equal(seen[5], picture[48:144, 48:144])


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(30000, 1001), Fraction(25), Fraction(50)])
def test_pictures_are_laid_on_the_grid_by_nearest_time(fps: Fraction) -> None:
    numbers = frame_numbers(fps, 50, available=1000)
    away = np.abs(np.arange(1000) / float(fps) - ((np.arange(50) + 0.5) / 25)[:, None])
    assert numbers == away.round(9).argmin(axis=1).tolist()


def test_a_picture_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="96"):
        MotionEye().see(0.0, np.zeros((64, 64), np.uint8))
