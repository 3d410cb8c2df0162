"""CAVP's tower over time: what a feature depends on, and a film in pieces."""

import numpy as np
import pytest
import torch

from synchresis.encoders import cavp as eye
from synchresis.nn.cavp import CAVP, CAVPConfig, cavp_keys
from synchresis.systems.weights import randomise

SMALL = CAVPConfig(base_channels=4, stage_blocks=(1, 1, 2, 1), embed_dim=12)


@pytest.fixture(scope="module")
def net() -> CAVP:
    made = CAVP(SMALL).eval()
    randomise(made)
    return made


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_a_feature_depends_on_its_neighbours_within_reach_alone(net: CAVP) -> None:
    assert CAVPConfig().reach == 9
    video = torch.rand(1, 12, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    changed = video.clone()
    changed[:, 5] = 0.5
    with torch.no_grad():
        difference = (net(video) - net(changed)).abs().amax(-1)[0]
    near = abs(np.arange(12) - 5) <= SMALL.reach
    assert (difference[torch.from_numpy(near)] > 1e-6).all()
    assert (difference[torch.from_numpy(~near)] == 0).all()


@pytest.mark.parametrize("piece", [1, 4, 7])
def test_pieces_are_the_whole(net: CAVP, piece: int) -> None:
    film = pictures(19)
    whole = torch.cat(list(eye.features_of(net, film, 100)))
    parts = list(eye.features_of(net, film, piece))
    assert [len(part) for part in parts[:-1]] == [piece] * (len(parts) - 1)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    video = torch.from_numpy(film).permute(0, 3, 1, 2)[None].float() / 255
    with torch.no_grad():
        assert torch.allclose(whole, net(video)[0], atol=1e-6)
    assert torch.allclose(whole.norm(dim=-1), torch.ones(19))


def test_pictures_are_squeezed_not_cut() -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :20] = 255  # the left quarter
    seen = eye.seen(wide, 64)
    assert seen.shape == (64, 64, 3)
    assert (seen[:, :14] > 250).all()
    assert (seen[:, 18:] < 5).all()


def test_names_of_the_published_file() -> None:
    assert set(cavp_keys({"module.video_encoder.conv1.conv.weight": torch.zeros(1)})) == {
        "video_encoder.conv1.conv.weight"
    }


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="depth"):
        CAVPConfig.from_dict({"depth": 50})
