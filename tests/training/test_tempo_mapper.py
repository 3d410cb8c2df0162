"""The mapper learns one film against a frozen base; what is frozen stays so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from synchresis.data.stage import film
from synchresis.errors import BadInputError
from synchresis.media import write_film
from synchresis.systems.picturing import load_picture
from synchresis.systems.tempotokens import FRAMES, TempoTokens
from synchresis.training.mapper import lesson, loss_of, train_mapper


@pytest.fixture
def system() -> TempoTokens:
    made = load_picture("tempotokens", device="cpu", untrained="small")
    assert isinstance(made, TempoTokens)
    made.config = made.config | {"width": 32, "height": 32}
    return made


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = film(11, size=(64, 64), seconds=1.5, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("lesson") / "wood.mp4"
    write_film(path, made.frames, made.fps, made.sound)
    return path


def test_the_mapper_overfits_one_film(system: TempoTokens, hits: Path) -> None:
    """Told nothing better, a base that was drawn at random says something anyway: more than 1, the noise's own power.

    It cannot see the noise, so that 1 is the least to which words can bring it. Its cross-attention is made to listen.
    """
    with torch.no_grad():
        for name, param in system.loaded.components["unet"].named_parameters():
            if ".attentions." in name and ".attn2.to_out" in name:
                param.mul_(10)
    item = lesson(system, hits, "wood")
    assert item.latents.shape == (1, 4, FRAMES, 4, 4)
    assert item.inside.tolist() == [1.0] * 18 + [0.0] * 6
    before = {name: n.state_dict() for name, n in system.loaded.components.items()}
    before = {name: {k: v.clone() for k, v in state.items()} for name, state in before.items()}
    digest = system.weights_hash
    draw = torch.Generator().manual_seed(5)
    noise = torch.randn(item.latents.shape, generator=draw)

    def loss() -> float:
        with torch.no_grad():
            losses = [loss_of(system.mapper, system.base, [item], noise, torch.tensor([t])) for t in (300, 600, 900)]
        return float(torch.stack(losses).mean())

    first = loss()
    train_mapper(system, [item], steps=110, peak=3e-2, decay=0.9)
    assert loss() - 1 < 0.65 * (first - 1)
    assert system.weights_hash != digest
    for name, network in system.loaded.components.items():
        same = all(torch.equal(v, before[name][k]) for k, v in network.state_dict().items())
        assert same == (name != "mapper"), name
        assert all(p.requires_grad for p in network.parameters())


def test_gradients_reach_the_mapper_and_padding_teaches_nothing(system: TempoTokens, hits: Path) -> None:
    item = lesson(system, hits)
    noise = torch.randn(item.latents.shape, generator=torch.Generator().manual_seed(1))
    loss_of(system.mapper, system.base, [item], noise, torch.tensor([500])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in system.mapper.parameters())
    assert system.mapper.fc1.weight.grad is not None
    assert system.mapper.fc1.weight.grad.abs().max() > 0


def test_a_batch_is_the_mean_of_its_items(system: TempoTokens, hits: Path) -> None:
    """Rows of different prompts stay with their item."""
    items = [lesson(system, hits, "wood"), lesson(system, hits, "a stick", start=Fraction(1, 4))]
    items = [type(i)(i.tokens, i.latents, torch.ones(FRAMES), i.prompt) for i in items]
    noise = torch.randn((2, *items[0].latents.shape[1:]), generator=torch.Generator().manual_seed(1))
    t = torch.tensor([200, 700])
    with torch.no_grad():
        both = float(loss_of(system.mapper, system.base, items, noise, t))
        each = [float(loss_of(system.mapper, system.base, [items[i]], noise[[i]], t[[i]])) for i in (0, 1)]
    assert both == pytest.approx(np.mean(each), rel=1e-4)


def test_a_film_without_sound_teaches_nothing(system: TempoTokens, tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    write_film(path, [np.zeros((32, 32, 3), np.uint8)] * 5, 25)
    with pytest.raises(BadInputError, match="a picture and a sound"):
        lesson(system, path)
