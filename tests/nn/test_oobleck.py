"""Oobleck: lengths, chunks and refusals."""

from __future__ import annotations

import pytest
import torch

from synchresis.nn.oobleck import Oobleck, OobleckConfig

TINY = OobleckConfig(audio_channels=1, latent_dim=3, channels=4, multiples=(1, 2), strides=(2, 4))


def make() -> Oobleck:
    torch.manual_seed(0)
    return Oobleck(TINY).eval()


@pytest.mark.parametrize("samples", [64, 67, 71, 72])
def test_lengths(samples: int) -> None:
    with torch.no_grad():
        mean, std = make().encode(torch.randn(2, 1, samples))
        assert mean.shape == std.shape == (2, 3, samples // 8)
        assert bool((std > 0).all())
        assert make().decode(mean).shape == (2, 1, samples // 8 * 8)


def test_chunks_agree_with_the_whole_where_the_overlap_is_wide_enough() -> None:
    net = make()
    latents = torch.randn(1, 3, 150)
    with torch.no_grad():
        whole = net.decode(latents)
        # One latent sees about 30 others on either side here, so half an overlap of 40 hides every seam.
        torch.testing.assert_close(net.decode(latents, chunk=100, overlap=80), whole, atol=1e-5, rtol=1e-5)
        assert (net.decode(latents, chunk=10, overlap=0) - whole).abs().max() > 1e-4


@pytest.mark.parametrize("length", [1, 5, 16])
def test_shorter_than_a_chunk(length: int) -> None:
    net, latents = make(), torch.randn(1, 3, length)
    with torch.no_grad():
        assert torch.equal(net.decode(latents, chunk=16, overlap=4), net.decode(latents))


def test_an_autoencoder_trains() -> None:
    net = make().train()
    sound = torch.sin(torch.arange(256) * 0.3).expand(2, 1, -1)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        mean, std = net.encode(sound)
        loss = ((net.decode(net.sample(mean, std, torch.randn_like(mean) * 0.1)) - sound) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="odd strides"):
        OobleckConfig(multiples=(1,), strides=(3,))
    with pytest.raises(ValueError, match="overlap 16"):
        make().decode(torch.randn(1, 3, 40), chunk=16, overlap=16)
    side = {"channels": 4, "c_mults": [1], "strides": [2], "use_snake": True}
    values = {
        "encoder": {"type": "oobleck", "config": side | {"in_channels": 2, "latent_dim": 4}},
        "decoder": {
            "type": "oobleck",
            "config": side | {"out_channels": 2, "latent_dim": 2, "final_tanh": False, "use_nearest_upsample": True},
        },
        "bottleneck": {"type": "vae"},
        "latent_dim": 2,
        "downsampling_ratio": 4,
    }
    with pytest.raises(ValueError, match="use_nearest_upsample True, downsampling_ratio 4"):
        OobleckConfig.from_dict(values)
