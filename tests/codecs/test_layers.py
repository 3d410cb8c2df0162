"""Layers in poses: a film taken apart and put together again is the film."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synchresis.codecs.layers import POSE, SIDE, SPREAD, anchors, compose, motions_of, poses_of
from synchresis.data.stage import film
from synchresis.data.stage.apart import apart
from synchresis.training.picture import BODIES, KINDS

CANVAS = 160  # pixels of the layers drawn here: a picture of 128 then shows them pixel for pixel
PICTURE = 128
RIM = (CANVAS - PICTURE) // 2
AS_IT_IS = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])


def speckled(seed: int) -> Tensor:
    """An opaque background of random colours."""
    layer = torch.rand(4, CANVAS, CANVAS, generator=torch.Generator().manual_seed(seed))
    layer[3] = 1.0
    return layer


def patch(top: int, left: int, size: int, seed: int) -> Tensor:
    """An opaque square of random colours at these pixels of the picture, and nothing around it."""
    layer = torch.zeros(4, CANVAS, CANVAS)
    colours = torch.rand(4, size, size, generator=torch.Generator().manual_seed(seed))
    colours[3] = 1.0
    layer[:, top + RIM : top + RIM + size, left + RIM : left + RIM + size] = colours
    return layer


def plain(layer: Tensor) -> Tensor:
    """The colours of a layer where the picture is."""
    return layer[:3, RIM:-RIM, RIM:-RIM]


def shown(layers: list[Tensor], poses: Tensor, size: tuple[int, int] = (PICTURE, PICTURE)) -> Tensor:
    """The one frame [3, height, width] of bodies in poses [K, POSE]."""
    return compose(torch.stack(layers), poses[None], size)[0]


def covering(ground: Tensor, body: Tensor, top: int, left: int) -> Tensor:
    """The picture `ground` with an opaque body [3, h, w] over it."""
    out = ground.clone()
    out[:, top : top + body.shape[1], left : left + body.shape[2]] = body
    return out


# ------------------------------------------------------------------------------- poses


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
def test_poses_and_motions_are_two_ways_of_saying_the_same(seed: int, count: int, bodies: int) -> None:
    rng = np.random.default_rng(seed)
    motion = torch.from_numpy(rng.uniform(-2, 2, (count, bodies, 2, 3)).astype(np.float32))
    there = torch.from_numpy(rng.random((count, bodies)) < 0.5)
    middle = torch.from_numpy(rng.uniform(-0.6, 0.6, (bodies, 2)).astype(np.float32))
    radius = torch.from_numpy(rng.uniform(0.02, 0.6, bodies).astype(np.float32))
    poses = poses_of(motion, there.float(), middle, radius)
    assert poses.shape == (count, bodies, POSE)
    again, still_there = motions_of(poses, middle, radius)
    assert torch.allclose(again, motion, atol=1e-5)
    assert torch.equal(still_there, there)
    other = torch.from_numpy(rng.uniform(-2, 2, (count, bodies, POSE)).astype(np.float32))
    other[..., 6] = other[..., 6].sign()
    back = poses_of(*(part.float() for part in motions_of(other, middle, radius)), middle, radius)
    assert torch.allclose(back, other, atol=1e-4)


def test_a_pose_is_the_way_of_the_middle_and_of_a_point_one_radius_from_it() -> None:
    motion = torch.tensor([[[[0.5, -1.0, 0.1], [2.0, 0.25, -0.3]]]])
    middle, radius = torch.tensor([[0.2, -0.4]]), torch.tensor([0.3])
    pose = poses_of(motion, torch.ones(1, 1), middle, radius)[0, 0]
    way = motion[0, 0] @ torch.tensor([0.2, -0.4, 1.0])
    right = motion[0, 0] @ torch.tensor([0.2 + 0.3, -0.4, 1.0])
    below = motion[0, 0] @ torch.tensor([0.2, -0.4 + 0.3, 1.0])
    assert torch.allclose(pose[:2], way)
    assert torch.allclose(pose[[2, 4]], right - way, atol=1e-6)
    assert torch.allclose(pose[[3, 5]], below - way, atol=1e-6)


@pytest.mark.parametrize(("x", "y", "radius"), [(0.0, 0.0, 0.3), (0.25, -0.3, 0.1), (-0.4, 0.35, 0.05)])
def test_the_anchor_of_a_disc_is_its_middle_and_its_radius_over_root_two(x: float, y: float, radius: float) -> None:
    line = ((torch.arange(SIDE) + 0.5) / SIDE - 0.5) * SPREAD
    away = ((line[None, :] - x).square() + (line[:, None] - y).square()).sqrt()
    coverage = ((radius - away) / (SPREAD / SIDE) + 0.5).clamp(0, 1)
    middle, spread = anchors(coverage[None])
    assert torch.allclose(middle[0], torch.tensor([x, y]), atol=2e-4)
    assert float(spread[0]) == pytest.approx(radius / 2**0.5, rel=0.02)
    half, same = anchors(coverage[None] / 2)  # glass is where it is
    assert torch.allclose(half, middle, atol=1e-5)
    assert torch.allclose(same, spread, atol=1e-5)


def test_the_anchor_of_nothing_is_the_origin() -> None:
    middle, radius = anchors(torch.zeros(2, SIDE, SIDE))
    assert torch.equal(middle, torch.zeros(2, 2))
    assert torch.allclose(radius, torch.full((2,), 0.02))


# ------------------------------------------------------------------------------- pictures


def test_a_zero_pose_shows_the_layer_as_it_is() -> None:
    wall, body = speckled(0), patch(20, 70, 30, 1)
    out = shown([wall, body], AS_IT_IS[None])
    wanted = covering(plain(wall), plain(body)[:, 20:50, 70:100], 20, 70)
    assert torch.allclose(out, wanted, atol=1e-4)
    assert torch.allclose(shown([wall], torch.zeros(0, POSE)), plain(wall), atol=1e-4)


def test_a_body_moves_by_whole_pixels_and_comes_in_from_outside_the_frame() -> None:
    wall, body = speckled(0), patch(20, 70, 30, 1)
    pose = AS_IT_IS.clone()
    pose[0], pose[1] = 12 / PICTURE, -7 / PICTURE
    wanted = covering(plain(wall), plain(body)[:, 20:50, 70:100], 13, 82)
    assert torch.allclose(shown([wall, body], pose[None]), wanted, atol=1e-3)
    outside = patch(40, PICTURE + 2, 10, 2)
    pose[0], pose[1] = -50 / PICTURE, 0.0
    wanted = covering(plain(wall), outside[:3, 40 + RIM : 50 + RIM, PICTURE + 2 + RIM : PICTURE + 12 + RIM], 40, 80)
    assert torch.equal(shown([wall, outside], AS_IT_IS[None]), shown([wall], torch.zeros(0, POSE)))
    assert torch.allclose(shown([wall, outside], pose[None]), wanted, atol=1e-3)


def test_a_quarter_turn_about_the_middle_lands_on_the_right_pixels() -> None:
    """From right to down, which is clockwise for who looks, as y goes down."""
    wall, body = speckled(0), patch(20, 70, 30, 1)
    _, radius = anchors(body[None, 3])
    pose = AS_IT_IS.clone()
    pose[2:6] = torch.tensor([[-1.0, -1.0], [1.0, -1.0]]).flatten() * radius
    turned = torch.rot90(plain(body)[:, 20:50, 70:100], -1, (1, 2))
    assert torch.allclose(shown([wall, body], pose[None]), covering(plain(wall), turned, 20, 70), atol=1e-3)


def test_a_body_twice_as_large_covers_four_times_as_much_about_its_middle() -> None:
    white, black = torch.ones(4, CANVAS, CANVAS), torch.zeros(4, CANVAS, CANVAS)
    black[3, 50 + RIM : 70 + RIM, 30 + RIM : 50 + RIM] = 1.0
    _, radius = anchors(black[None, 3])
    pose = AS_IT_IS.clone()
    pose[2], pose[5] = radius, radius
    covered = 1 - shown([white, black], pose[None])[0]
    assert float(covered.sum()) == pytest.approx(40 * 40, rel=0.01)
    assert float(covered[41:79, 21:59].min()) > 0.999


@pytest.mark.parametrize("turn", [(-2.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, -2.0), (-1.0, 0.0, 0.0, 0.0)])
def test_what_is_not_shown_or_turned_inside_out_is_hidden(turn: tuple[float, ...]) -> None:
    wall, body = speckled(0), patch(20, 70, 30, 1)
    _, radius = anchors(body[None, 3])
    gone = AS_IT_IS.clone()
    gone[6] = -1.0
    mirrored = AS_IT_IS.clone()
    mirrored[2:6] = torch.tensor(turn) * radius
    frames = compose(torch.stack([wall, body]), torch.stack([gone, mirrored, AS_IT_IS])[:, None], (PICTURE, PICTURE))
    bare = shown([wall], torch.zeros(0, POSE))
    assert torch.equal(frames[0], bare)
    assert torch.equal(frames[1], bare)
    assert not torch.equal(frames[2], bare)


def test_later_bodies_cover_earlier_ones() -> None:
    wall, under, over = speckled(0), patch(20, 20, 40, 1), patch(40, 40, 40, 2)
    poses = AS_IT_IS.repeat(2, 1)
    low, high = plain(under)[:, 20:60, 20:60], plain(over)[:, 40:80, 40:80]
    one = covering(covering(plain(wall), low, 20, 20), high, 40, 40)
    other = covering(covering(plain(wall), high, 40, 40), low, 20, 20)
    assert torch.allclose(shown([wall, under, over], poses), one, atol=1e-4)
    assert torch.allclose(shown([wall, over, under], poses), other, atol=1e-4)


def test_through_glass_one_sees_what_is_behind() -> None:
    wall, glass = speckled(0), patch(20, 20, 40, 1) * 0.25
    out = shown([wall, glass], AS_IT_IS[None])[:, 20:60, 20:60]
    wanted = plain(glass)[:, 20:60, 20:60] + 0.75 * plain(wall)[:, 20:60, 20:60]
    assert torch.allclose(out, wanted, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([32, 96, 112, 150, 160, 256]))
def test_wide_and_tall_pictures_agree_with_the_square_one_where_they_share(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [speckled(seed), patch(30, 50, 30, seed + 1), patch(5, 100, 20, seed + 2)]
    poses = torch.from_numpy(rng.uniform(-0.1, 0.1, (2, POSE)).astype(np.float32))
    poses[:, 6] = 1.0
    square, other = shown(layers, poses), shown(layers, poses, (PICTURE, width))
    assert other.shape == (3, PICTURE, width)
    out, cut = max(0, width - PICTURE) // 2, max(0, PICTURE - width) // 2
    assert torch.allclose(other[:, :, out : width - out], square[:, :, cut : PICTURE - cut], atol=2e-3)
    if width > CANVAS:  # past the canvas the background goes on as at its edge
        assert torch.allclose(other[:, :, 0], other[:, :, (width - CANVAS) // 2 - 1], atol=1e-5)


def test_another_resolution_shows_the_same_scene() -> None:
    smooth = torch.nn.functional.interpolate(speckled(3)[None, :, :8, :8], (CANVAS, CANVAS), mode="bilinear")[0]
    body = patch(32, 64, 32, 1)
    body[:3] = body[3] * torch.tensor([0.9, 0.1, 0.4])[:, None, None]
    large = shown([smooth, body], AS_IT_IS[None])
    small = shown([smooth, body], AS_IT_IS[None], (PICTURE // 2, PICTURE // 2))
    assert float((torch.nn.functional.avg_pool2d(large, 2) - small).abs().max()) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_taken_apart_and_composed_again_is_the_film(kind: str) -> None:
    """Where nothing moves nothing differs; where something moves, the edges of what was drawn more coarsely do."""
    for seed in range(3):
        made = film(seed, size=(128, 128), seconds=2, ugly=False, kinds=[kind])
        taken = apart(made, BODIES, SIDE, SPREAD)
        assert taken is not None
        layers = torch.from_numpy(taken.layers).permute(0, 3, 1, 2).float() / 255
        poses = poses_of(torch.from_numpy(taken.motions), torch.from_numpy(taken.shown), *anchors(layers[1:, 3]))
        own = np.stack(list(made.frames)).astype(np.float32)
        again = compose(layers, poses, made.size).permute(0, 2, 3, 1).numpy() * 255
        assert again.shape == own.shape
        wrong, moves = np.abs(again - own).mean(-1), np.ptp(own, axis=0).max(-1) > 30
        held = np.abs(own - own[:1]).mean(-1)
        assert moves.mean() > 0.03
        assert np.median(wrong) < 0.5  # the wall and the floor are where they were
        assert wrong.mean(axis=(1, 2)).max() < 3.5  # at every frame; 255 is white on black
        assert wrong[:, moves].mean() < 8
        assert wrong[:, moves].mean() < 0.45 * held[:, moves].mean()  # a picture that stands still is far worse
