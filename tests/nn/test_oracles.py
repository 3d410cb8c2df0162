"""Our networks against the stock classes of diffusers on the same random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers_keys import dit_call, dit_keys, dit_settings, dit_twin, oobleck_keys, oobleck_settings, oobleck_twin
from torch import Tensor, nn

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import classifier_free
from synchresis.diffusion.noise import noise_source
from synchresis.nn.dit import DiT, DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")

FULL = DiTConfig(
    io_channels=64, embed_dim=1536, depth=24, num_heads=24, cond_token_dim=768, project_cond_tokens=False,
    global_cond_dim=1536,
)  # fmt: skip
CONFIGS = {
    "shared heads": DiTConfig(
        io_channels=4, embed_dim=128, depth=3, num_heads=4, cond_token_dim=64, project_cond_tokens=False,
        global_cond_dim=12,
    ),
    "projected context, wide heads": DiTConfig(
        io_channels=6, embed_dim=256, depth=2, num_heads=2, cond_token_dim=10, global_cond_dim=256
    ),
}  # fmt: skip
CODEC = OobleckConfig(latent_dim=4, channels=8, multiples=(1, 2, 4), strides=(2, 4, 8))


def alive(module: nn.Module) -> Any:
    """Random values everywhere, norms and biases included, of a size that keeps the stream alive."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not name.endswith("inv_freq"):  # not a weight: the stock class computes it
                scale = 0.3 if value.ndim == 1 else value[0].numel() ** -0.5
                value.add_(torch.randn(value.shape, generator=generator) * scale)
    return module.eval()


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> tuple[DiT, Any]:
    net = alive(DiT(CONFIGS[request.param]))
    return net, dit_twin(net)


@pytest.mark.parametrize(("batch", "latents", "tokens"), [(1, 1, 1), (2, 13, 5), (3, 64, 33), (1, 7, 90)])
@pytest.mark.parametrize("told", [False, True], ids=["no global", "global"])
def test_dit(pair: tuple[DiT, Any], batch: int, latents: int, tokens: int, told: bool) -> None:
    net, twin = pair
    c = net.config
    x, cross = random(batch, c.io_channels, latents, seed=1), random(batch, tokens, c.cond_token_dim, seed=2)
    global_cond = random(batch, c.global_cond_dim, seed=3) if told else None
    t = torch.linspace(0.05, 0.95, batch)
    with torch.no_grad():
        wanted = dit_call(twin, c, x, t, cross, global_cond)
        got = net(x, t, cross=cross, global_cond=global_cond)
        prepared = net(x, t, prepared=net.prepare(cross=cross, global_cond=global_cond))
    assert float((wanted - x).abs().max()) > 0.1  # the transformer has something to say
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prepared, wanted, atol=1e-5, rtol=1e-5)


def test_dit_gradients(pair: tuple[DiT, Any]) -> None:
    """The way back too: the training graph is another one than that of inference."""
    net, twin = pair
    c = net.config
    x, cross = random(2, c.io_channels, 9, seed=1), random(2, 4, c.cond_token_dim, seed=2)
    told, t = random(2, c.global_cond_dim, seed=3), torch.tensor([0.3, 0.7])
    net.zero_grad()
    (net(x, t, cross=cross, global_cond=told) ** 2).sum().backward()
    learned = {name: p for name, p in twin.named_parameters() if p.requires_grad}  # all but the Fourier features
    loss = (dit_call(twin, c, x, t, cross, told) ** 2).sum()
    wanted = dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))
    # Our beta is a buffer and has no gradient.
    mapped = dit_keys({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    missing = wanted.keys() - mapped.keys()
    assert missing == {f"transformer_blocks.{i}.norm{j}.bias" for i in range(c.depth) for j in (1, 2, 3)}
    for name, gradient in wanted.items():
        if name in mapped:
            torch.testing.assert_close(mapped[name], gradient, atol=1e-3, rtol=1e-3, msg=name)


def test_guided_sampling(pair: tuple[DiT, Any]) -> None:
    """A whole sampling under guidance: our batch of branches against two calls of the stock class."""
    net, twin = pair
    c = net.config
    cross, told = random(1, 11, c.cond_token_dim, seed=2), random(1, c.global_cond_dim, seed=3)

    def stock(x: Tensor, t: Tensor) -> Tensor:
        null = dit_call(twin, c, x, t, torch.zeros_like(cross), told)
        return null + 4 * (dit_call(twin, c, x, t, cross, told) - null)

    ours = classifier_free(net, {"cross": cross, "global_cond": told}, 4)
    noise = noise_source([5], c.io_channels, 20)
    with torch.no_grad():
        got = samplers.v_ddim(ours, noise(0), samplers.linear_times(6))
        wanted = samplers.v_ddim(stock, noise(0), samplers.linear_times(6))
    torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)


def test_full_size_dit_keys() -> None:
    from diffusers import StableAudioDiTModel

    with torch.device("meta"):
        ours, stock = DiT(FULL), StableAudioDiTModel()
    mapped = {name: tuple(value.shape) for name, value in dit_keys(ours.state_dict()).items()}
    assert mapped == {name: tuple(value.shape) for name, value in stock.state_dict().items()}
    assert {name: stock.config[name] for name in dit_settings(FULL)} == dit_settings(FULL)


def test_what_the_stock_class_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no DiT like"):
        dit_settings(DiTConfig(cond_token_dim=768, global_cond_dim=768, num_memory_tokens=4))
    with pytest.raises(ValueError, match="no Oobleck like"):
        oobleck_settings(OobleckConfig(latent_dim=32))


@pytest.mark.parametrize("latents", [1, 5, 40])
def test_oobleck(latents: int) -> None:
    """In float64: in float32 the order of sums in a convolution is worth more than any mistake of ours."""
    net = alive(Oobleck(CODEC)).double()
    twin = oobleck_twin(net).double()
    audio = random(2, 2, latents * CODEC.ratio, seed=4).double()
    with torch.no_grad():
        stock = twin.encode(audio).latent_dist
        mean, std = net.encode(audio)
        torch.testing.assert_close(mean, stock.mean)
        torch.testing.assert_close(std, stock.std)
        torch.testing.assert_close(net.divergence(mean, std), stock.kl())
        wanted = twin.decode(stock.mean).sample
        assert float(wanted.std()) > 0.01
        torch.testing.assert_close(net.decode(mean), wanted)
        torch.testing.assert_close(net.decode(mean, chunk=7), wanted)


def test_full_size_oobleck_keys() -> None:
    from diffusers import AutoencoderOobleck

    config = OobleckConfig()
    with torch.device("meta"):
        ours, stock = Oobleck(config), AutoencoderOobleck()
    mapped = {name: tuple(value.shape) for name, value in oobleck_keys(ours.state_dict(), config).items()}
    assert mapped == {name: tuple(value.shape) for name, value in stock.state_dict().items()}
    assert {name: stock.config[name] for name in oobleck_settings(config)} == oobleck_settings(config)
