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


@pytest.mark.parametrize("strides", [(2, 4), (6, 4), (2, 4, 4, 8, 8)])
def test_the_decoder_reaches_exactly_as_far_as_it_says(strides: tuple[int, ...]) -> None:
    config = OobleckConfig(audio_channels=1, latent_dim=2, channels=2, multiples=(1,) * len(strides), strides=strides)
    torch.manual_seed(0)
    net = Oobleck(config).double().eval()
    middle = config.reach + 3
    latents = torch.randn(1, 2, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    net.decode(latents)[..., middle * config.ratio : (middle + 1) * config.ratio].sum().backward()
    assert latents.grad is not None
    seen = latents.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert (int(seen[0]), int(seen[-1])) == (middle - config.reach, middle + config.reach)


def test_the_published_sizes_reach_ten_latents() -> None:
    assert OobleckConfig().reach == 10


@pytest.mark.parametrize("chunk", [1, 16, 50, 149, 150, 400])
def test_chunks_are_the_whole(chunk: int) -> None:
    net = make()
    latents = torch.randn(2, 3, 150)
    with torch.no_grad():
        whole = net.decode(latents)
        pieces = list(net.decode_chunks(latents, chunk))
        assert [piece.shape[-1] // 8 for piece in pieces] == [min(chunk, 150 - i) for i in range(0, 150, chunk)]
        torch.testing.assert_close(torch.cat(pieces, dim=-1), whole, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net.decode(latents, chunk=chunk), whole, atol=1e-5, rtol=1e-5)


def test_chunks_bound_what_is_decoded_at_once() -> None:
    net, seen = make(), []
    net.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        for _ in net.decode_chunks(torch.randn(1, 3, 1000), 20):
            pass
    assert max(seen) == 20 + 2 * TINY.reach
    assert len(seen) == 50


def test_published_chunks_are_exact_from_twice_the_reach_on() -> None:
    net = make()
    latents = torch.randn(1, 3, 150)
    with torch.no_grad():
        whole = net.decode(latents)
        exact = net.decode(latents, chunk=100, overlap=2 * TINY.reach)
        torch.testing.assert_close(exact, whole, atol=1e-5, rtol=1e-5)
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
    with pytest.raises(ValueError, match="chunks of 0"):
        make().decode(torch.randn(1, 3, 40), chunk=0)
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
