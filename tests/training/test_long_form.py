"""Splicing keeps sound and picture together; the objective counts what is real; a small network learns from it."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synchresis.diffusion.objectives import FLOW, Objective, V
from synchresis.nn.dit import DiT, DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.systems.weights import randomise
from synchresis.timeline import Track
from synchresis.training.long_form import (
    Pair,
    at_rate,
    collate,
    cut,
    cutting_step,
    drawn_length,
    latents_of,
    long_form_loss,
    splice,
)

RATES = [(44_100, 8), (44_100, 22), (48_000, 25), (441, 8), (100, 10)]


def clock(seconds: Fraction, rate: int | Fraction) -> Track:
    """A track whose values say when they were: the beginning of each cell, in seconds."""
    count = int(seconds * Fraction(rate))
    return Track(np.arange(count) / float(rate), Fraction(rate))


@settings(max_examples=60, deadline=None)
@given(
    rates=st.sampled_from(RATES),
    tenths=st.integers(11, 330),
    target=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_sound_and_features_of_a_splice_come_from_the_same_instants(
    rates: tuple[int, int], tenths: int, target: int, seed: int
) -> None:
    sound_rate, rate = rates
    seconds = Fraction(tenths, 10)
    sound, features = clock(seconds, sound_rate), clock(seconds, rate)
    pair = splice(sound, features, target, np.random.default_rng(seed))
    assert pair.sound.duration == pair.features.duration == target
    # At the beginning of every feature's cell the sound is of the same instant, to within its own cell.
    starts = np.arange(len(pair.features)) * Fraction(sound_rate, rate)
    heard = pair.sound.values[[int(start) for start in starts]]
    assert np.abs(heard - pair.features.values).max() < 1 / sound_rate + 1e-9
    # And the pieces are what they say they are, one after the other.
    place = Fraction(0)
    for piece in pair.pieces:
        assert 0 <= piece.start < piece.end <= seconds
        assert pair.sound.values[int(place * sound_rate)] == pytest.approx(float(piece.start))
        assert pair.features.values[int(place * rate)] == pytest.approx(float(piece.start))
        place += piece.duration
    assert place == target


def test_a_clip_as_long_as_the_target_and_one_under_five_seconds() -> None:
    """Both fail in the published code (spec 10.3)."""
    rng = np.random.default_rng(0)
    long = splice(clock(Fraction(40), 441), clock(Fraction(40), 8), 30, rng)
    assert len(long.pieces) == 1
    assert len({splice(clock(Fraction(40), 441), clock(Fraction(40), 8), 30, rng).pieces for _ in range(20)}) > 3
    short = splice(clock(Fraction(2), 441), clock(Fraction(2), 8), 7, rng)
    assert [piece.duration for piece in short.pieces] == [2, 2, 2, 1]


def test_pieces_are_not_always_the_same() -> None:
    drawn = {
        splice(clock(Fraction(10), 441), clock(Fraction(10), 8), 30, np.random.default_rng(seed)).pieces
        for seed in range(10)
    }
    assert len(drawn) == 10
    assert all(pieces[0].duration == 10 for pieces in drawn)
    assert all(piece.duration >= 5 for pieces in drawn for piece in pieces[:-1])


def test_lengths_are_left_alone_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    lengths = [drawn_length(Fraction(19, 2), 30, rng) for _ in range(2000)]
    assert 0.45 < np.mean([length == Fraction(19, 2) for length in lengths]) < 0.55
    assert {int(length) for length in lengths if length != Fraction(19, 2)} == set(range(10, 31))
    assert drawn_length(40, 30, rng) == 30


def test_where_rates_do_not_meet_it_is_said() -> None:
    assert cutting_step(Fraction(44_100), Fraction(8)) == Fraction(1, 4)
    assert cutting_step(Fraction(44_100), Fraction(22)) == Fraction(1, 2)
    with pytest.raises(ValueError, match="8 or 22 Hz"):
        cutting_step(Fraction(44_100), Fraction(30_000, 1001))
    with pytest.raises(ValueError, match="features from 1"):
        splice(clock(Fraction(5), 441), Track(np.zeros(40), Fraction(8), Fraction(1)), 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="cannot be cut"):
        splice(clock(Fraction(1, 10), 441), clock(Fraction(1, 10), 100), 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="whole cells"):
        cut(clock(Fraction(5), 8), splice(clock(Fraction(5), 441), clock(Fraction(5), 441), 1, _at(3)).pieces[0])


def _at(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_features_keep_their_instants_at_a_lower_rate() -> None:
    """22 Hz to 8 Hz: feature j is of the picture shown at j / 8, and knows its rate (spec 10.2)."""
    track = at_rate(clock(Fraction(10), 22), 8)
    assert (len(track), track.rate) == (80, 8)
    late = np.arange(80) / 8 - track.values
    assert late.min() >= -1e-9
    assert late.max() < 1 / 22
    with pytest.raises(ValueError, match="cannot be had"):
        at_rate(track, 22)


# Batches --------------------------------------------------------------------------------------------


def noise_pair(samples: int, rows: int, channels: int = 2, seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal((samples, channels)).astype(np.float32)
    features = rng.standard_normal((rows, 6)).astype(np.float32)
    return Pair(Track(sound, Fraction(44_100)), Track(features, Fraction(8)), ())


def test_masks_count_what_holds_sound() -> None:
    batch = collate([noise_pair(64, 2), noise_pair(65, 3, channels=1), noise_pair(10, 1)], ratio=16, samples=100)
    assert batch.sound.shape == (3, 2, 112)
    assert batch.latent_mask.sum(1).tolist() == [4, 5, 1]
    assert batch.context_mask.sum(1).tolist() == [2, 3, 1]
    assert float(batch.sound[0, :, 64:].abs().max()) == 0
    assert torch.equal(batch.sound[1, 0], batch.sound[1, 1])
    with pytest.raises(ValueError, match="does not fit"):
        collate([noise_pair(64, 2)], ratio=16, samples=63)


def net() -> DiT:
    torch.manual_seed(0)
    config = DiTConfig(io_channels=4, embed_dim=32, depth=2, num_heads=2, cond_token_dim=6, positions="learned",
                       context_positions=True, max_positions=64)  # fmt: skip
    made = DiT(config)
    randomise(made)
    return made


@pytest.mark.parametrize("objective", [V, FLOW])
def test_an_item_s_loss_does_not_depend_on_its_neighbours(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding to a longer neighbour changes nothing: the mask holds in the loss and in both attentions."""
    model, latents, features = net(), torch.randn(1, 4, 9), torch.randn(1, 5, 6)
    wide = torch.cat([latents, torch.full((1, 4, 7), 50.0)], dim=2)
    longer = torch.cat([features, torch.full((1, 3, 6), 50.0)], dim=1)
    noise = torch.randn(1, 4, 16)
    monkeypatch.setattr(torch, "randn", lambda shape, generator: noise[..., : shape[-1]])

    def loss(latents: torch.Tensor, features: torch.Tensor, **masks: torch.Tensor) -> float:
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            return float(long_form_loss(model, latents, features, draw, objective=objective, dropout=0.0, **masks))

    alone = loss(latents, features)
    masks = {"latent_mask": (torch.arange(16) < 9)[None], "context_mask": (torch.arange(8) < 5)[None]}
    assert loss(wide, longer, **masks) == pytest.approx(alone, rel=1e-4)
    for left_out in masks:
        assert abs(loss(wide, longer, **{k: v for k, v in masks.items() if k != left_out}) - alone) > 1e-3


def test_the_target_is_the_objective_s_own() -> None:
    """A network that knows the clean latents has no loss."""
    latents = torch.randn(2, 4, 9)
    for objective in (V, FLOW):

        def knowing(x: torch.Tensor, t: torch.Tensor, objective: Objective = objective, **_: object) -> torch.Tensor:
            alpha, sigma = objective._levels(t, x)
            noise = (x - alpha * latents) / sigma
            return noise - latents if objective.kind == "flow" else alpha * noise - sigma * latents

        draw = torch.Generator().manual_seed(1)
        assert float(long_form_loss(knowing, latents, torch.randn(2, 5, 6), draw, objective=objective)) < 1e-6


def test_conditions_are_dropped_as_often_as_asked() -> None:
    seen: list[bool] = []

    def watching(x: torch.Tensor, t: torch.Tensor, cross: torch.Tensor, **_: object) -> torch.Tensor:
        seen.extend((cross.abs().amax((1, 2)) == 0).tolist())
        return x

    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        long_form_loss(watching, torch.randn(40, 1, 2), torch.randn(40, 2, 3), draw)
    assert 0.08 < np.mean(seen) < 0.12


def test_a_small_network_learns_which_sound_belongs_to_which_picture() -> None:
    """Two pairs of different lengths through a small codec: the loss falls, and the picture decides the sound."""
    torch.manual_seed(0)
    codec = Oobleck(OobleckConfig(latent_dim=4, channels=4, multiples=(1, 1), strides=(4, 4))).eval()
    pairs = [noise_pair(160, 4, seed=1), noise_pair(96, 3, seed=2)]
    batch, draw = collate(pairs, ratio=16), torch.Generator().manual_seed(0)
    latents = latents_of(codec, batch.sound, draw)
    latents = latents / latents.std()
    assert latents.shape == (2, 4, 10)
    model = net()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(250):
        loss = long_form_loss(
            model, latents.repeat(4, 1, 1), batch.features.repeat(4, 1, 1), draw,
            latent_mask=batch.latent_mask.repeat(4, 1), context_mask=batch.context_mask.repeat(4, 1),
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:10])
    # Out of noise alone the estimate of the clean latents is nearer to the picture's own sound than to the other's.
    with torch.no_grad():
        noise, t = torch.randn(64, 4, 10, generator=draw), torch.full((64,), 0.9)
        told = {"cross": batch.features, "context_mask": batch.context_mask, "mask": batch.latent_mask}
        told = {name: value.repeat(32, *[1] * (value.ndim - 1)) for name, value in told.items()}
        guess = V.denoised(noise, model(noise, t, **told), t)[..., :6]
    first = latents[..., :6]
    own, other = ((guess - clean.repeat(32, 1, 1)).square().mean().sqrt() for clean in (first, first.flip(0)))
    assert own < 0.7 * other


def test_it_needs_torch_and_numpy_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('av', 'soundfile', 'soxr', 'transformers', 'diffusers', 'cv2', 'scipy', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "import synchresis.training.long_form\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
