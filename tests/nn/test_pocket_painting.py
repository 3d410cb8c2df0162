"""The networks of pocket's pictures: what each may depend on, and what it may not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synchresis.nn.layer_vae import CHANNELS, SCALE, LayerVAE, LayerVAEConfig
from synchresis.nn.mover import POSE, SHAPE_SIDE, Mover, MoverConfig
from synchresis.nn.painter import PATCH, Painter, PainterConfig, fold, unfold

CODEC = LayerVAEConfig(latent=4, width=8)
PAINTER = PainterConfig(layers=3, latent=4, side=8, sound=10, heard=16, width=32, depth=2, heads=2)
MOVER = MoverConfig(bodies=2, sound=10, heard=16, local=8, shape=12, width=32, depth=2, heads=2)


def awake(net: nn.Module) -> nn.Module:
    """The network with no weight at zero, so that whatever may matter does."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for param in net.parameters():
            param.copy_(torch.randn(param.shape, generator=draw) * (0.3 if param.ndim > 1 else 0.1))
            if param.ndim == 1 or param.shape[1:] == (1, 1):
                param.add_(0.5)
    return net.eval()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------- the codec of layers


@pytest.fixture(scope="module")
def vae() -> LayerVAE:
    net = awake(LayerVAE(CODEC))
    assert isinstance(net, LayerVAE)
    return net


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (128, 128), (40, 96)])
@torch.no_grad()
def test_layers_of_any_size_and_back(vae: LayerVAE, size: tuple[int, int]) -> None:
    layers = drawn(3, CHANNELS, *size).sigmoid()
    mean, log_variance = vae.encode(layers)
    assert mean.shape == log_variance.shape == (3, CODEC.latent, size[0] // SCALE, size[1] // SCALE)
    assert vae.decode(mean).shape == layers.shape
    assert float(log_variance.min()) >= -20
    assert float(log_variance.max()) <= 4
    alone = vae.encode(layers[1:2])[0]
    assert torch.allclose(alone, mean[1:2], atol=1e-4)


@torch.no_grad()
def test_a_latent_knows_nothing_of_what_is_far_away(vae: LayerVAE) -> None:
    layers = drawn(1, CHANNELS, 128, 128).sigmoid()
    other = layers.clone()
    other[..., 96:, 96:] = 1 - other[..., 96:, 96:]
    one, two = vae.encode(layers)[0], vae.encode(other)[0]
    assert torch.equal(one[..., :5, :], two[..., :5, :])
    assert torch.equal(one[..., :, :5], two[..., :, :5])
    assert not torch.allclose(one[..., 13, 13], two[..., 13, 13], atol=1e-3)


@torch.no_grad()
def test_a_pixel_knows_nothing_of_latents_far_away(vae: LayerVAE) -> None:
    latents = drawn(1, CODEC.latent, 16, 16)
    other = latents.clone()
    other[..., 14:, 14:] += 1
    one, two = vae.decode(latents), vae.decode(other)
    assert torch.equal(one[..., :48, :48], two[..., :48, :48])
    assert not torch.allclose(one[..., 112:, 112:], two[..., 112:, 112:], atol=1e-3)


def test_a_codec_can_learn_a_layer_by_heart() -> None:
    """Gradients reach every weight, those that begin at zero included."""
    torch.manual_seed(0)
    net = LayerVAE(CODEC)
    layer = torch.nn.functional.interpolate(drawn(1, CHANNELS, 4, 4), (32, 32)).sigmoid()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for _ in range(120):
        error = (net.decode(net.encode(layer)[0]) - layer).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]
    still = [name for name, param in net.named_parameters() if param.grad is None]
    assert still == []


# ------------------------------------------------------------------------------- the painter


@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 9), st.integers(1, 6))
def test_folding_is_undone(batch: int, layers: int, latent: int, half: int) -> None:
    config = PainterConfig(layers=layers, latent=latent, side=half * PATCH)
    latents = drawn(batch, layers, latent, config.side, config.side)
    scene = fold(latents)
    assert scene.shape == (batch, config.channels, config.positions)
    assert torch.equal(unfold(scene, config), latents)
    assert torch.equal(fold(unfold(scene, config)), scene)


def test_a_position_of_a_scene_is_one_place_of_all_layers() -> None:
    latents = torch.zeros(1, 3, 2, 8, 8)
    latents[..., 2:4, 6:8] = 1.0
    scene = fold(latents)[0]
    assert scene.sum(0).nonzero().flatten().tolist() == [1 * 4 + 3]
    assert (scene[:, 7] == 1).all()
    one_layer = torch.zeros(1, 3, 2, 8, 8)
    one_layer[:, 1] = 1.0
    assert fold(one_layer)[0].sum(1).nonzero().flatten().tolist() == list(range(8, 16))


@pytest.fixture(scope="module")
def painter() -> Painter:
    net = awake(Painter(PAINTER))
    assert isinstance(net, Painter)
    return net


@torch.no_grad()
def test_a_scene_follows_what_is_heard_unless_deaf(painter: Painter) -> None:
    x, t = drawn(1, PAINTER.channels, PAINTER.positions).expand(4, -1, -1), torch.full((4,), 0.5)
    one, other = drawn(12, PAINTER.sound, seed=1), drawn(12, PAINTER.sound, seed=2)
    sounds, deaf = torch.stack([one, other, one, other]), torch.tensor([False, False, True, True])
    pooled = torch.where(deaf[:, None], painter.unheard, painter.listen(sounds))
    assert pooled.shape == (4, PAINTER.heard)
    made = painter(x, t, painter.prepare(pooled))
    assert made.shape == x.shape
    assert torch.allclose(made[2], made[3], atol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    assert not torch.allclose(made[0], made[2], atol=1e-3)
    hearing = painter.listen(sounds)
    assert torch.allclose(hearing[:2], pooled[:2])
    assert not torch.allclose(hearing[2:], pooled[2:])


@torch.no_grad()
def test_a_painter_knows_its_places(painter: Painter) -> None:
    """Scenes have an up and a down: the same latents elsewhere are another scene."""
    x = drawn(1, PAINTER.channels, PAINTER.positions)
    told = painter.prepare(painter.listen(drawn(1, 12, PAINTER.sound)))
    made, rolled = painter(x, torch.ones(1), told), painter(x.roll(3, 2), torch.ones(1), told)
    assert not torch.allclose(made.roll(3, 2), rolled, atol=1e-3)


# ------------------------------------------------------------------------------- the mover


@pytest.fixture(scope="module")
def mover() -> Mover:
    net = awake(Mover(MOVER))
    assert isinstance(net, Mover)
    return net


def given_to(mover: Mover, batch: int, frames: int) -> dict[str, Tensor]:
    local, pooled = mover.listen(drawn(batch, frames, MOVER.sound))
    return {
        "local": local,
        "pooled": pooled,
        "shapes": drawn(batch, MOVER.bodies + 3, SHAPE_SIDE, SHAPE_SIDE).sigmoid(),
        "known": drawn(batch, MOVER.channels, frames, seed=3),
        "is_known": (torch.arange(frames) < 4).float().expand(batch, -1),
    }


@pytest.mark.parametrize("frames", [9, 24, 40])
@torch.no_grad()
def test_poses_for_any_number_of_frames(mover: Mover, frames: int) -> None:
    told = given_to(mover, 2, frames)
    assert told["local"].shape == (2, MOVER.local, frames)
    assert told["pooled"].shape == (2, MOVER.heard)
    assert MOVER.channels == MOVER.bodies * POSE
    x = drawn(2, MOVER.channels, frames)
    made = mover(x, torch.tensor([0.3, 0.8]), mover.prepare(**told))
    assert made.shape == x.shape
    assert torch.isfinite(made).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 20))
@torch.no_grad()
def test_poses_that_are_not_known_do_not_matter(seed: int, count: int) -> None:
    net = awake(Mover(MOVER))
    assert isinstance(net, Mover)
    told = given_to(net, 1, 20)
    told["is_known"] = (torch.arange(20) < count).float()[None]
    x, t = drawn(1, MOVER.channels, 20, seed=9), torch.full((1,), 0.6)
    made = net(x, t, net.prepare(**told))
    noise = 5 * drawn(1, MOVER.channels, 20, seed=seed)
    later = told["known"] + noise * (1 - told["is_known"])[:, None]
    assert torch.allclose(net(x, t, net.prepare(**{**told, "known": later})), made, atol=1e-5)
    if count:
        earlier = told["known"] + noise * told["is_known"][:, None]
        assert not torch.allclose(net(x, t, net.prepare(**{**told, "known": earlier})), made, atol=1e-3)


@torch.no_grad()
def test_zeros_that_are_known_are_not_the_same_as_nothing_known(mover: Mover) -> None:
    told = given_to(mover, 1, 20)
    told["known"] = torch.zeros_like(told["known"])
    x, t = drawn(1, MOVER.channels, 20), torch.ones(1)
    made = mover(x, t, mover.prepare(**told))
    other = mover(x, t, mover.prepare(**{**told, "is_known": torch.zeros(1, 20)}))
    assert not torch.allclose(made, other, atol=1e-3)


@torch.no_grad()
def test_the_deaf_do_not_hear(mover: Mover) -> None:
    one, other = drawn(15, MOVER.sound, seed=1), drawn(15, MOVER.sound, seed=2)
    sounds, deaf = torch.stack([one, other, one, other]), torch.tensor([False, False, True, True])
    told = {key: value[:1].expand(4, *value.shape[1:]) for key, value in given_to(mover, 1, 15).items()}
    told["local"], told["pooled"] = mover.listen(sounds, deaf)
    x = drawn(1, MOVER.channels, 15).expand(4, -1, -1)
    made = mover(x, torch.full((4,), 0.5), mover.prepare(**told))
    assert torch.allclose(made[2], made[3], atol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    assert not torch.allclose(made[0], made[2], atol=1e-3)
    local, pooled = mover.listen(sounds)
    assert torch.equal(told["local"][:2], local[:2])
    assert torch.equal(told["pooled"][:2], pooled[:2])
    assert (told["local"][2:] == mover.unheard[None, :, None]).all()


@torch.no_grad()
def test_the_mover_sees_the_scene(mover: Mover) -> None:
    told = given_to(mover, 1, 15)
    x, t = drawn(1, MOVER.channels, 15), torch.ones(1)
    made = mover(x, t, mover.prepare(**told))
    assert not torch.allclose(mover(x, t, mover.prepare(**{**told, "shapes": 1 - told["shapes"]})), made, atol=1e-3)


# ------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("net", "statistics"),
    [(LayerVAE(CODEC), {"latent_mean", "latent_std"}), (Mover(MOVER), {"pose_std"}), (Painter(PAINTER), {"typical"})],
    ids=["layers", "mover", "painter"],
)
def test_statistics_are_not_a_number_until_they_are_loaded(net: nn.Module, statistics: set[str]) -> None:
    begun = net.state_dict()
    assert {name for name, value in begun.items() if value.isnan().any()} == statistics
    assert all(begun[name].isnan().all() for name in statistics)
    net.load_state_dict({name: torch.ones_like(value) for name, value in begun.items()})
    assert all((net.state_dict()[name] == 1).all() for name in begun)


@pytest.mark.parametrize("config", [CODEC, PAINTER, MOVER], ids=["layers", "painter", "mover"])
def test_a_description_makes_the_same_network(config: LayerVAEConfig | PainterConfig | MoverConfig) -> None:
    assert type(config)(**config.to_dict()) == config
