"""Training of pocket's pictures: lessons that agree with their films, losses that fall, a folder that makes a film."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from synchresis.cli import run
from synchresis.codecs.layers import SIDE, SPREAD, anchors, compose
from synchresis.data.stage import film
from synchresis.encoders.listener import CELLS, FEATURES, SPECTRAL
from synchresis.nn.mover import POSE, SHAPE_SIDE, MoverConfig
from synchresis.nn.painter import PainterConfig
from synchresis.systems.picturing import PictureRequest
from synchresis.systems.pocket_picture import PocketPicture
from synchresis.training import picture
from synchresis.training.picture import (
    BODIES,
    FRAMES,
    KINDS,
    Lesson,
    build_lessons,
    lesson,
    train_layers,
    train_mover,
    train_painter,
)
from synchresis.training.pocket import train

Trained = Callable[[Callable[[int, float], None]], torch.nn.Module]


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    return build_lessons(16, 0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow networks and small batches: what the widths are for takes hours to show."""
    monkeypatch.setattr(picture, "LAYER_BATCH", 8)
    monkeypatch.setattr(picture, "SCENE_BATCH", 8)
    monkeypatch.setattr(picture, "MOTION_BATCH", 8)
    monkeypatch.setattr(picture, "LayerVAEConfig", partial(picture.LayerVAEConfig, latent=4, width=16))
    monkeypatch.setattr(picture, "PainterConfig", partial(PainterConfig, heard=16, width=64, depth=2, heads=2))
    monkeypatch.setattr(picture, "MoverConfig", partial(MoverConfig, heard=16, local=16, shape=16, width=64, depth=2))


# ------------------------------------------------------------------------------- lessons


def test_lessons_are_the_same_for_any_number_of_workers(lessons: list[Lesson]) -> None:
    others = build_lessons(16, 0, workers=2)
    assert len(lessons) == len(others)
    assert len(lessons) >= 12
    for one, other in zip(lessons, others, strict=True):
        assert np.array_equal(one.layers, other.layers)
        assert all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("tokens", "poses", "shapes"))
    different = build_lessons(1, 1)
    assert not np.array_equal(different[0].layers, lessons[0].layers)


def test_what_a_lesson_holds(lessons: list[Lesson]) -> None:
    for one in lessons:
        assert one.layers.shape == (1 + one.bodies, SIDE, SIDE, 4)
        assert one.tokens.shape == (FRAMES, FEATURES)
        assert one.poses.shape == (FRAMES, BODIES * POSE)
        assert one.shapes.shape == (BODIES + 3, SHAPE_SIDE, SHAPE_SIDE)
        assert torch.isfinite(one.tokens).all()
        poses = one.poses.unflatten(1, (BODIES, POSE))
        assert set(poses[..., 6].unique().tolist()) <= {-1.0, 1.0}
        nobody = torch.tensor([0.0] * 6 + [-1.0])
        assert (poses[:, one.bodies :] == nobody).all()
        assert (poses[:, : one.bodies, 6] == 1).any()
        assert float(poses[..., :6].std(0).max()) > 0.01  # something moves


def test_shapes_are_the_layers_seen_small(lessons: list[Lesson]) -> None:
    for one in lessons[:6]:
        small = torch.from_numpy(one.layers).float().unflatten(1, (32, 4)).unflatten(3, (32, 4)).mean((2, 4))
        assert float((one.shapes[: one.bodies].float() - small[1:, ..., 3]).abs().max()) <= 1
        assert float((one.shapes[BODIES:].float() - small[0, ..., :3].permute(2, 0, 1)).abs().max()) <= 1
        assert (one.shapes[one.bodies : BODIES] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_poses_put_the_layers_where_the_film_shows_them(kind: str) -> None:
    """And the tokens tell its onsets: those that can be heard."""
    one = lesson(11, kind) or lesson(12, kind)
    assert one is not None
    seed = 11 if lesson(11, kind) is not None else 12
    made = film(seed, size=(64, 64), seconds=FRAMES / 25, ugly=False, kinds=[kind])
    layers = torch.from_numpy(one.layers).permute(0, 3, 1, 2).float() / 255
    again = compose(layers, one.poses.unflatten(1, (BODIES, POSE))[:, : one.bodies], made.size) * 255
    own = np.stack(list(made.frames)).astype(np.float32)
    wrong = np.abs(again.permute(0, 2, 3, 1).numpy() - own).mean(-1)
    moves = np.ptp(own, axis=0).max(-1) > 30
    held = np.abs(own - own[:1]).mean(-1)
    assert wrong.mean() < 5
    assert wrong[:, moves].mean() < 0.6 * held[:, moves].mean()
    told = one.tokens[:, SPECTRAL : SPECTRAL + CELLS].flatten().nonzero().flatten().numpy() / 100
    near = [np.abs(made.onsets.times - time).min() < 0.05 for time in told]
    assert len(told) > 0
    assert np.mean(near) > 0.8


def test_a_film_that_cannot_be_taken_apart_is_no_lesson() -> None:
    assert lesson(3, "splash") is None


def test_poses_of_a_mirrored_scene_are_the_mirrored_poses(lessons: list[Lesson]) -> None:
    """What the mover is taught of a picture that is turned about agrees with the picture that it sees."""
    one = max(lessons, key=lambda some: some.bodies)
    layers = torch.from_numpy(one.layers).permute(0, 3, 1, 2).float() / 255
    poses = one.poses.unflatten(1, (BODIES, POSE))[::16, : one.bodies]
    straight = compose(layers, poses, (64, 64)).flip(3)
    mirrored = compose(layers.flip(3), poses * torch.tensor(picture.MIRROR), (64, 64))
    assert torch.allclose(straight, mirrored, atol=2e-3)
    assert not torch.allclose(compose(layers.flip(3), poses, (64, 64)), straight, atol=0.05)


# ------------------------------------------------------------------------------- losses


def falls(trained: Trained, to: float) -> torch.nn.Module:
    losses: list[float] = []
    net = trained(lambda step, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < to * np.mean(losses[:10]), (np.mean(losses[:10]), np.mean(losses[-10:]))
    assert not net.training
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    return net


def test_the_three_networks_learn(small: None, lessons: list[Lesson]) -> None:
    vae = falls(lambda report: train_layers(lessons, 60, 0, report), to=0.75)
    assert isinstance(vae, picture.LayerVAE)
    latents = torch.cat([picture._latents(vae, one) for one in lessons])
    normal = (latents - vae.latent_mean) / vae.latent_std
    assert torch.allclose(normal.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(normal.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    falls(lambda report: train_painter(lessons, vae, 60, 0, report), to=0.8)
    mover = falls(lambda report: train_mover(lessons, 60, 0, report), to=0.85)
    assert isinstance(mover, picture.Mover)
    assert float(mover.pose_std[6]) == 1.0
    assert (mover.pose_std[:2] == mover.pose_std[0]).all()
    assert (mover.pose_std[2:6] == mover.pose_std[2]).all()


def test_the_same_seed_gives_the_same_weights(small: None, lessons: list[Lesson]) -> None:
    one, same, other = (train_mover(lessons, 2, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_anchors_of_lessons_are_those_that_the_system_sees(lessons: list[Lesson]) -> None:
    """Poses are said about the middle of a body seen small, and are used about the middle of the layer."""
    for one in lessons:
        fine = anchors(torch.from_numpy(one.layers[1:, ..., 3]).float() / 255)
        coarse = anchors(one.shapes[: one.bodies] / 255)
        assert float((fine[0] - coarse[0]).abs().max()) < 0.25 * SPREAD / SHAPE_SIDE
        assert float((fine[1] / coarse[1]).log().abs().max()) < 0.1


# ------------------------------------------------------------------------------- the command


def test_a_trained_folder_makes_a_film(small: None, tmp_path: Path) -> None:
    """Two steps: it is wired, and paints nonsense."""
    folder = train("picture", tmp_path / "weights", steps=2, items=8)
    described = json.loads((folder / "system.json").read_text())
    assert described["picture_training"]["steps"] == 2
    assert described["picture_training"]["lessons"] <= 8
    sound = tmp_path / "knock.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, round(0.9 * 32_000)), 32_000)
    system = PocketPicture.load(folder, "cpu")
    plan = system.prepare(sound, PictureRequest(width=48, height=64, fps=Fraction(24000, 1001), steps=2))
    pictures = list(system.pictures(plan))
    assert len(pictures) == 22  # 0.9 s at 23.976 frames a second
    assert all(one.shape == (64, 48, 3) and one.dtype == np.uint8 for one in pictures)
    again = list(system.pictures(replace(plan)))
    assert all(np.array_equal(one, other) for one, other in zip(pictures, again, strict=True))
    other = list(system.pictures(replace(plan, seed=1)))
    assert not all(np.array_equal(one, two) for one, two in zip(pictures, other, strict=True))


def test_a_part_that_is_not_there_is_refused_with_the_parts_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "pocket", "--part", "nonsense", "--out", str(tmp_path / "weights")]) == 2
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert "picture" in said
    assert not (tmp_path / "weights").exists()
