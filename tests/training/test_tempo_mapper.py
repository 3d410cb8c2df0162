"""The mapper learns one film against a frozen base; what is frozen stays so."""

from __future__ import annotations

import json
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
from synchresis.systems.weights import write_folder
from synchresis.timeline import Track
from synchresis.training.course import Course
from synchresis.training.loop import Saving
from synchresis.training.mapper import Lesson, lesson, loss_of, read_film, train_folder, train_mapper, worded


@pytest.fixture
def system() -> TempoTokens:
    made = load_picture("tempotokens", device="cpu", untrained="small")
    assert isinstance(made, TempoTokens)
    made.config.update(width=32, height=32)
    return made


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = film(11, size=(64, 64), seconds=1.5, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("lesson") / "wood.mp4"
    write_film(path, made.frames, made.fps, made.sound)
    return path


def noisy(path: Path, seconds: float, silent: float = 0.0) -> Path:
    """A film of ten grey pictures a second that grow brighter, with noise that begins after `silent` seconds."""
    sound = np.random.default_rng(3).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)
    sound[: round(16_000 * silent)] = 0
    pictures = (np.full((32, 32, 3), 5 * i, np.uint8) for i in range(round(10 * seconds)))
    write_film(path, pictures, 10, Track(sound, Fraction(16_000)))
    return path


def test_the_mapper_overfits_one_film(system: TempoTokens, hits: Path, tmp_path: Path) -> None:
    """Told nothing better, a base that was drawn at random says something anyway: more than 1, the noise's own power.

    It cannot see the noise, so that 1 is the least to which words can bring it. Its cross-attention is made to listen.
    """
    with torch.no_grad():
        for name, param in system.loaded.components["unet"].named_parameters():
            if ".attentions." in name and ".attn2.to_out" in name:
                param.mul_(10)
    begin = write_folder(system.loaded, tmp_path / "begin")
    films = tmp_path / "films.jsonl"
    films.write_text(json.dumps({"film": str(hits), "prompt": "wood"}))
    item = lesson(system, hits, "wood")
    assert item.latents.shape == (1, 4, FRAMES, 4, 4)
    assert item.inside.tolist() == [1.0] * 18 + [0.0] * 6
    noise = torch.randn(item.latents.shape, generator=torch.Generator().manual_seed(5))

    def loss(which: TempoTokens) -> float:
        with torch.no_grad():
            losses = [loss_of(which.mapper, which.base, [item], noise, torch.tensor([t])) for t in (300, 600, 900)]
        return float(torch.stack(losses).mean())

    said: list[float] = []
    course = Course(steps=110, batch=1, rate=3e-2, report=lambda step, value: said.append(value))
    out = train_folder(tmp_path / "out", films, init=begin, parts={}, course=course)
    after = load_picture("tempotokens", out, "cpu")
    assert isinstance(after, TempoTokens)
    assert loss(after) - 1 < 0.65 * (loss(system) - 1)
    assert np.mean(said[-20:]) < np.mean(said[:20])
    for name, network in after.loaded.components.items():
        before = system.loaded.components[name].state_dict()
        same = all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
        assert same == (name != "mapper"), name
    noted = json.loads((out / "training.json").read_text())
    assert (noted["trained"], noted["began_with"], noted["steps"]) == (["mapper"], "begin", 110)


def test_training_in_place(system: TempoTokens, hits: Path) -> None:
    items, digest = read_film(system, hits), system.weights_hash
    saved: list[int] = []
    before = {k: v.clone() for k, v in system.mapper.state_dict().items()}
    train_mapper(system, items, steps=3, batch=2, saving=Saving(2, saved.append))
    assert saved == [2]
    assert system.weights_hash != digest
    assert any(not torch.equal(v, before[k]) for k, v in system.mapper.state_dict().items())
    assert not system.mapper.training
    assert all(p.requires_grad for n in system.loaded.components.values() for p in n.parameters())
    with pytest.raises(ValueError, match="no stretches"):
        train_mapper(system, [], steps=1)
    other = Lesson(items[0].tokens, torch.zeros(1, 4, FRAMES, 8, 8), items[0].inside, "")
    with pytest.raises(ValueError, match="one size"):
        train_mapper(system, [items[0], other], steps=1, batch=30)


def test_a_film_is_learned_from_in_stretches(system: TempoTokens, tmp_path: Path) -> None:
    """All of it, pictures and sound of the same time, but for what is silent."""
    path = noisy(tmp_path / "noise.mp4", 4.5)
    items = read_film(system, path, "grey")
    alone = [lesson(system, path, "grey", start) for start in (Fraction(0), Fraction(2), Fraction(5, 2))]
    assert len(items) == 3
    for item, one in zip(items, alone, strict=True):
        assert torch.equal(item.tokens, one.tokens)
        assert torch.equal(item.latents, one.latents)
        assert item.inside.all()
        assert item.prompt == "grey"
    assert not torch.equal(items[1].tokens, items[2].tokens)
    assert not torch.equal(items[1].latents, items[2].latents)
    half = noisy(tmp_path / "half.mp4", 4.0, silent=2.2)
    late, *others = read_film(system, half)
    assert not others
    assert torch.equal(late.latents, lesson(system, half, start=Fraction(2)).latents)
    with pytest.raises(BadInputError, match=r"half.mp4 is silent from 0 s on"):
        lesson(system, half)
    with pytest.raises(BadInputError, match="it is silent"):
        read_film(system, noisy(tmp_path / "silent.mp4", 2.0, silent=2.0))
    with pytest.raises(BadInputError, match="shorter than 1 s"):
        read_film(system, noisy(tmp_path / "short.mp4", 0.5))


def test_a_prompt_says_where_the_sound_goes_or_has_it_behind(system: TempoTokens) -> None:
    words = " ".join(system.base.placeholders)
    assert worded(system.base, "") == words
    assert worded(system.base, "a dog") == f"a dog {words}"
    assert worded(system.base, "<temp> of a dog") == "<temp> of a dog"


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
