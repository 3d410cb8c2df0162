"""Training of STA-V2A at small size: what a film teaches, what is dropped, that it learns, and what it leaves alone."""

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synchresis.data.stage import film
from synchresis.errors import BadInputError
from synchresis.media import write_film
from synchresis.systems import sta_v2a
from synchresis.systems.latent_unet import Schedule
from synchresis.systems.weights import Loaded, write_folder
from synchresis.timeline import detect_onsets
from synchresis.training.course import Course
from synchresis.training.sta_v2a import (
    TEXT_DROPPED,
    VIDEO_DROPPED,
    Batch,
    Example,
    Trainee,
    batch_losses,
    batches,
    read_examples,
    train_folder,
    train_sta_v2a,
)


@pytest.fixture(scope="module")
def begun() -> Loaded:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sta_v2a.begin("small")


@pytest.fixture
def loaded(begun: Loaded) -> Loaded:
    """A copy that a test may train."""
    return copy.deepcopy(begun)


def made(seed: int, prompt: str, cells: int = 32) -> Example:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(cells, generator=generator) < 0.2).long()
    features = torch.nn.functional.normalize(torch.randn(-(-cells * 4 // 25), 24, generator=generator), dim=-1)
    return Example(torch.randn(8, cells, 16, generator=generator), features, prompt, labels)


def test_what_a_film_teaches(loaded: Loaded, tmp_path: Path) -> None:
    wood = film(11, size=(96, 96), seconds=3.3, fps=25, kinds=("wood",), ugly=False)
    write_film(tmp_path / "wood.mp4", wood.frames, wood.fps, wood.sound)
    (example,) = read_examples(loaded, tmp_path / "wood.mp4", "wood")
    assert example.latents.shape == (8, 80, 16)  # 82 cells in 3.3 s, of which whole eights
    assert example.labels.shape == (80,)
    assert example.features.shape == (13, 24)
    heard = detect_onsets(wood.sound).times
    marked = (np.flatnonzero(example.labels.numpy()) + 0.5) / 25
    assert len(marked) > 0
    assert np.abs(marked[:, None] - heard).min(axis=1).max() < 0.06
    pieces = read_examples(loaded, tmp_path / "wood.mp4", "wood", latents=32)
    assert [piece.latents.shape for piece in pieces] == [(8, 32, 16)] * 3  # the last begins earlier, to be as long
    assert torch.equal(pieces[0].labels, example.labels[:32])
    write_film(tmp_path / "mute.mp4", iter(list(wood.frames)[:5]), wood.fps, None)
    with pytest.raises(BadInputError):
        read_examples(loaded, tmp_path / "mute.mp4", "wood")


def test_batches_are_cut_to_the_shortest() -> None:
    examples = [made(0, "a"), made(1, "b", cells=24)]
    draw = torch.Generator().manual_seed(0)
    found = [next(batches(examples, 4, draw)) for _ in range(4)]
    mixed = next(batch for batch in found if len(set(batch.prompts)) == 2)
    assert mixed.latents.shape == (4, 8, 24, 16)
    assert mixed.labels.shape == (4, 24)
    assert set(mixed.rows.sum(1).tolist()) == {4, 6}


@torch.no_grad()
def test_what_is_dropped_tells_nothing(loaded: Loaded) -> None:
    with torch.no_grad():  # what the ControlNet adds is zero in the beginning
        for layer in loaded.components["control"].controlnet_down_blocks:  # type: ignore[union-attr]
            layer.weight += 0.1  # type: ignore[operator, union-attr]
        loaded.components["control"].controlnet_cond_embedding.conv_out.weight += 0.1  # type: ignore[union-attr, operator]
    trainee = Trainee(loaded).eval()
    one, other = (next(batches([made(i, prompt)], 1, torch.Generator())) for i, prompt in enumerate(("rain", "dog")))
    noisy, t, yes, no = torch.randn(1, 8, 32, 16), torch.tensor([500]), torch.tensor([True]), torch.tensor([False])

    def run(batch: Batch, worded: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return trainee(noisy, t, batch, worded, seen)[0]

    assert torch.equal(run(one, no, no), run(other, no, no))
    swapped = Batch(one.latents, other.features, one.rows, one.prompts, one.labels)
    assert torch.equal(run(one, yes, no), run(swapped, yes, no))
    assert not torch.allclose(run(one, yes, yes), run(swapped, yes, yes), atol=1e-4)
    assert not torch.allclose(run(one, yes, yes), run(one, no, yes), atol=1e-4)
    # And no words are what inference holds against: the empty string.
    empty = Batch(one.latents, one.features, one.rows, [""], one.labels)
    assert torch.equal(run(one, no, yes), run(empty, yes, yes))


def test_it_learns_by_heart_and_leaves_the_frozen_alone(loaded: Loaded, tmp_path: Path) -> None:
    examples = [made(0, "rain"), made(1, "a dog")]
    schedule = Schedule.from_dict(loaded.config["scheduler"])
    frozen = {name: copy.deepcopy(loaded.components[name].state_dict()) for name in ("text", "cavp", "codec", "unet")}
    before = loaded.digest

    def loss() -> tuple[float, float]:
        """Over the same noise and timesteps, nothing dropped."""
        trainee = Trainee(loaded)
        draw, given = torch.Generator().manual_seed(9), next(batches(examples, 4, torch.Generator().manual_seed(9)))
        with torch.no_grad():
            found = [
                batch_losses(trainee, given, schedule, draw, text_dropped=0.0, video_dropped=0.0) for _ in range(8)
            ]
        return tuple(float(np.mean([getattr(x, name) for x in found])) for name in ("diffusion", "onset"))  # type: ignore[return-value]

    untaught = loss()
    train_sta_v2a(loaded, examples, steps=60, batch=2, peak=4e-3, decay=0.9, onset_weight=1.0)
    taught = loss()
    assert taught[0] < 0.95 * untaught[0]
    assert taught[1] < 0.8 * untaught[1]
    for name, state in frozen.items():
        assert all(torch.equal(value, state[key]) for key, value in loaded.components[name].state_dict().items()), name
    assert loaded.digest != before
    assert loaded.config["video_dropped"]
    write_folder(loaded, tmp_path / "ours")
    system = sta_v2a.StaV2a(loaded, "cpu")
    path = tmp_path / "grey.mp4"
    write_film(path, (np.full((32, 32, 3), 90, np.uint8) for _ in range(20)), Fraction(25), None)
    assert np.isfinite(system.sound(path, prompt="rain", steps=2, video_guidance=2.0).samples).all()


def test_the_unet_is_trained_where_asked_and_the_same_twice(begun: Loaded) -> None:
    examples = [made(0, "rain")]
    digests = []
    for _ in range(2):
        loaded = copy.deepcopy(begun)
        state = copy.deepcopy(loaded.components["unet"].state_dict())
        train_sta_v2a(loaded, examples, steps=2, batch=2, unet_too=True, video_dropped=0.0, decay=0.5)
        assert any(not torch.equal(v, state[k]) for k, v in loaded.components["unet"].state_dict().items())
        assert not loaded.config["video_dropped"]
        digests.append(loaded.digest)
    assert digests[0] == digests[1]
    with pytest.raises(ValueError, match="no clips"):
        train_sta_v2a(loaded, [], steps=1)


def test_from_a_list_of_films_to_a_folder(begun: Loaded, tmp_path: Path) -> None:
    import synchresis

    unet: Any = begun.components["unet"]
    unet.save_pretrained(tmp_path / "t2a" / "unet")
    for seed in (3, 11):
        wood = film(seed, size=(64, 64), seconds=2.0, fps=12, kinds=("wood",), ugly=False)
        write_film(tmp_path / f"{seed}.mp4", wood.frames, wood.fps, wood.sound)
    films = tmp_path / "films.jsonl"
    films.write_text('{"video_location": "3.mp4", "captions": "wood"}\n\n{"video_location": "11.mp4"}\n')
    steps: list[int] = []
    out = train_folder(
        tmp_path / "out", films, size="small", init=tmp_path / "t2a", parts={},
        course=Course(steps=2, batch=2, rate=1e-4, report=lambda step, loss: steps.append(step)),
    )  # fmt: skip
    assert steps == [1, 2]
    system: Any = synchresis.load("sta_v2a", weights=out, device="cpu")
    assert system.untrained == "small"  # text, CAVP and codec are random
    assert system.config["unet_source"] == "t2a"
    kept = system.loaded.components["unet"].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in unet.state_dict().items())
    assert system.sound(tmp_path / "3.mp4", prompt="wood", steps=2).samples.shape == (32_000, 1)
    with pytest.raises(BadInputError, match="already holds"):
        train_folder(out, films, size="small", parts={}, course=Course(steps=1, batch=1, rate=1e-4))


def test_losses_weigh_by_the_noise(begun: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gamma it is the plain mean square error against v."""
    schedule = Schedule.from_dict(begun.config["scheduler"])
    batch = next(batches([made(0, "rain")], 2, torch.Generator().manual_seed(0)))
    seen: dict[str, Any] = {}
    trainee = Trainee(begun).eval()

    def watched(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen["noisy"], seen["t"] = given[:2]
        return torch.zeros_like(given[0]), torch.zeros(*batch.labels.shape, 2)

    monkeypatch.setattr(trainee, "forward", watched)
    losses = batch_losses(trainee, batch, schedule, torch.Generator().manual_seed(3), gamma=None)
    alpha = schedule.alphas[seen["t"]].reshape(-1, 1, 1, 1)
    noise = (seen["noisy"] - alpha.sqrt() * batch.latents) / (1 - alpha).sqrt()
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * batch.latents
    assert float(losses.diffusion) == pytest.approx(float(target.square().mean()), rel=1e-4)
    assert float(losses.onset) == pytest.approx(np.log(2), rel=1e-5)
    assert TEXT_DROPPED == VIDEO_DROPPED == 0.1
