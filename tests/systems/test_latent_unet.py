"""What the systems with a UNet over AudioLDM's latents share."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import MelCodec
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source
from synchresis.errors import BadInputError
from synchresis.systems.latent_unet import (
    SD_21,
    SPACINGS,
    Denoiser,
    Schedule,
    columns,
    copies,
    latent_count,
    padded,
    pictured,
    sample,
    sound_blocks,
)
from synchresis.systems.vta_ldm import SIZES
from synchresis.systems.weights import randomise

SMALL = SIZES["small"]["unet"] | {"block_out_channels": [32, 32, 32, 32], "attention_head_dim": [1, 1, 2, 2]}
CROSS = SMALL["cross_attention_dim"]


def unet() -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    made = UNet2DConditionModel(**SMALL).eval()
    randomise(made)
    return made


@pytest.fixture(scope="module")
def stock() -> Any:
    return unet()


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser(unet(), 16)


def noisy(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, 16, 16, generator=torch.Generator().manual_seed(seed))


def contexts(*lengths: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(length, CROSS, generator=draw) for length in lengths]


# Schedule and samplers


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 3, 7, 25, 300, 333, 999])
def test_timesteps_are_those_of_diffusers(spacing: str, steps: int) -> None:
    from diffusers import DDPMScheduler

    stock = DDPMScheduler(**SD_21, timestep_spacing=spacing)
    stock.set_timesteps(steps)
    assert Schedule.from_dict(SD_21).timesteps(steps, spacing) == stock.timesteps.tolist()


def test_steps_that_would_begin_beyond_the_noisiest_are_refused() -> None:
    schedule = Schedule.from_dict(SD_21)
    nothing = noise_source([0], 4, 8)
    with pytest.raises(BadInputError, match=r"beyond the noisiest.*spacing=trailing"):
        sample(lambda x, t: x, nothing, schedule, steps=1000, spacing="leading")
    with pytest.raises(BadInputError, match="1 to 1000"):
        sample(lambda x, t: x, nothing, schedule, steps=0)
    with pytest.raises(BadInputError, match="ddpm, dpmpp, unipc"):
        sample(lambda x, t: x, nothing, schedule, sampler="euler")


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 200), ("dpmpp", 25), ("unipc", 25)])
def test_samplers_find_the_distribution_that_the_network_knows(sampler: str, steps: int) -> None:
    """The clean signal is normal with mean 2 and spread 0.5; the network says the best v.

    The noisiest level still holds a seventh of the signal, and sampling begins without it: the deterministic samplers
    keep half of what that lacks.
    """
    schedule = Schedule.from_dict(SD_21)

    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha = schedule.alphas[t.long()][:, None, None]
        signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
        clean = 2.0 + signal * 0.25 / (alpha * 0.25 + sigma**2) * (x - signal * 2.0)
        return (signal * x - clean) / sigma

    found = sample(network, noise_source([3], 64, 64), schedule, sampler=sampler, steps=steps, spacing="trailing")
    lacking = 0.0 if sampler == "ddpm" else 0.5 * schedule.alpha(999) ** 0.5 * 2.0
    assert float(found.mean()) == pytest.approx(2.0 - lacking, abs=0.02)
    assert float(found.std()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("change", [{"beta_schedule": "squaredcos_cap_v2"}, {"prediction_type": "sample"},
                                    {"clip_sample": True}, {"trained_betas": [0.1]}])  # fmt: skip
def test_schedules_that_are_not_known_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Schedule.from_dict(SD_21 | change)


def test_columns_go_along_time() -> None:
    latents = noisy(2)
    x = columns(latents)
    assert x.shape == (2, 128, 16)
    assert torch.equal(x[0, 16 * 3 + 5], latents[0, 3, :, 5])
    assert torch.equal(pictured(x, 16), latents)


# The network


@torch.no_grad()
def test_remembering_changes_nothing(stock: Any, denoiser: Denoiser) -> None:
    """Zeros, a short context and a full one in one batch, twice, as a sampling would."""
    context, mask = padded(contexts(4, 6))
    context = torch.cat([torch.zeros(1, 6, CROSS), context])
    mask = torch.cat([torch.ones(1, 6, dtype=torch.bool), mask])
    told = denoiser.prepare(context=context, mask=mask)
    for t in (900, 10):
        times = torch.full((3,), t)
        expected = stock(noisy(3), times, context, encoder_attention_mask=mask).sample
        torch.testing.assert_close(pictured(denoiser(columns(noisy(3)), times, told), 16), expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_branches_of_guidance_share_what_comes_before_any_context(stock: Any, denoiser: Denoiser) -> None:
    """Two films, twice each, and the same batch with one latent of the second half changed."""
    context, mask = padded([torch.zeros(6, CROSS), torch.zeros(6, CROSS), *contexts(4, 6)])
    told, t = denoiser.prepare(context=context, mask=mask), torch.tensor([900, 10, 900, 10])
    doubled = noisy(2).repeat(2, 1, 1, 1)
    other = doubled.clone()
    other[3, 0, 0, 0] += 1.0
    for latents in (doubled, other):
        expected = stock(latents, t, context, encoder_attention_mask=mask).sample
        torch.testing.assert_close(pictured(denoiser(columns(latents), t, told), 16), expected, atol=2e-5, rtol=0)
        assert denoiser.shared.copies == 1
    assert copies(columns(doubled), t) == 2
    assert copies(columns(other), t) == 1
    assert copies(columns(doubled), torch.arange(4)) == 1
    assert copies(columns(doubled)[:3], t[:3]) == 1


@torch.no_grad()
def test_keys_are_made_once_and_forgotten_with_their_context() -> None:
    net = unet()
    denoiser = Denoiser(net, 16)
    made: list[int] = []
    for name, module in net.named_modules():
        if name.endswith("attn2.to_k"):
            module.register_forward_hook(lambda *_: made.append(1))
    (context,) = contexts(4)
    told = denoiser.prepare(context=context[None], mask=torch.ones(1, 4, dtype=torch.bool))
    for t in (900.0, 500.0, 10.0):
        denoiser(columns(noisy(1)), torch.tensor([t]), told)
    layers = sum(name.endswith("attn2.to_k") for name, _ in net.named_modules())
    assert len(made) == layers
    kept = [p.kept for name, p in net.attn_processors.items() if "attn2" in name]
    assert all(len(store) == 1 for store in kept)
    del told
    assert all(len(store) == 0 for store in kept)


def test_gradients_go_through_and_are_the_stock_ones(stock: Any) -> None:
    net = unet()
    Denoiser(net, 16)
    context = torch.stack(contexts(4))
    grads = []
    for network in (stock, net):
        network.zero_grad()
        network(noisy(1), torch.tensor([5]), context).sample.square().mean().backward()
        grads.append(network.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.weight.grad.clone())
    assert float(grads[0].abs().max()) > 0
    torch.testing.assert_close(*grads)


@torch.no_grad()
def test_a_batch_of_different_lengths_gives_what_each_gives_alone(denoiser: Denoiser) -> None:
    """Three films whose pictures are 2, 7 and 5, sampled together and one by one."""
    told, schedule = contexts(2, 7, 5), Schedule.from_dict(SD_21)

    def taken(sequences: Sequence[Tensor], seeds: Sequence[int]) -> Tensor:
        context, mask = padded(sequences)
        base = {"context": torch.zeros_like(context), "mask": torch.ones_like(mask)}
        network = guided(denoiser, base, [Branch({"context": context, "mask": mask}, 3.0)])
        return sample(network, noise_source(seeds, 128, 16), schedule, steps=3)

    together = taken(told, [4, 5, 6])
    for i, sequence in enumerate(told):
        torch.testing.assert_close(taken([sequence], [4 + i])[0], together[i], atol=1e-4, rtol=0)
    without = taken([torch.nn.functional.pad(told[0], (0, 0, 0, 5))], [4])[0]
    assert float((without - together[0]).abs().max()) > 1e-2  # had the mask not counted, padding would be heard


# Length


@pytest.mark.parametrize(("seconds", "latents"), [("1/100", 8), ("1", 32), ("4", 104), ("256/25", 256), ("20", 504)])
def test_latents_cover_the_film_in_whole_cells(seconds: str, latents: int) -> None:
    codec = MelCodec(audioldm.SMALL)
    assert latent_count(Fraction(seconds), codec, SMALL) == latents


def test_sound_has_the_samples_that_are_asked_for() -> None:
    torch.manual_seed(0)
    codec = MelCodec(audioldm.SMALL).eval()
    x = torch.randn(1, 128, 16, generator=torch.Generator().manual_seed(0))
    said: list[float] = []
    blocks = list(sound_blocks(codec, x, 10_001, lambda stage, done: said.append(done)))
    assert sum(map(len, blocks)) == 10_001
    assert blocks[0].shape[1] == 1
    assert said[-1] == 1.0
