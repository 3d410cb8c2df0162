"""Sampling by name and decoding in pieces."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synchresis.diffusion.objectives import FLOW, Objective, V
from synchresis.errors import BadInputError
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.systems.stable_audio import (
    PEAK,
    SAMPLERS,
    layout_of,
    model_configs,
    peak_normalised,
    sample,
    sampler_named,
    sound_blocks,
    weights_file,
)
from synchresis.systems.weights import randomise

CLEAN = torch.linspace(-1, 1, 6).reshape(1, 2, 3)


def towards(objective: Objective) -> object:
    """The network of a world with one signal in it."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = objective.levels(float(t[0]))
        noise = (x - alpha * CLEAN) / sigma
        return noise - CLEAN if objective.kind == "flow" else alpha * noise - sigma * CLEAN

    return network


def run(name: str, objective: Objective, **other: object) -> Tensor:
    options = {"seed": 3, "sampler": name, "steps": 12, "sigma_min": 0.3, "sigma_max": 500.0, "device": "cpu"}
    return sample(towards(objective), 2, 3, objective=objective, **(options | other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "objective"), [(n, o) for o in (V, FLOW) for n in SAMPLERS[o.kind] if n not in ("rk4", "lms")]
)
def test_every_sampler_finds_the_only_signal_there_is(name: str, objective: Objective) -> None:
    assert float((run(name, objective) - CLEAN).abs().max()) < 1e-3


def test_every_sampler_is_another_way() -> None:
    """On a network that is not consistent, no two names give the same result."""
    for objective in (V, FLOW):
        results = [
            sample(
                lambda x, t: torch.tanh(x) * torch.cos(3 * t)[:, None, None],
                2, 3, seed=1, sampler=name, steps=5, sigma_min=0.3, sigma_max=50, objective=objective, device="cpu",
            )
            for name in SAMPLERS[objective.kind]
        ]  # fmt: skip
        for i, one in enumerate(results):
            for other in results[:i]:
                assert float((one - other).abs().max()) > 1e-4


def test_names_that_are_unknown_or_of_the_other_family_are_told() -> None:
    assert sampler_named("auto", V) == "dpmpp-3m-sde"
    assert sampler_named("auto", FLOW) == "euler"
    assert sampler_named("k-heun", V) == "heun"
    with pytest.raises(BadInputError, match=r"no sampler: choose from .*v-ddim"):
        run("dpm-fast", V)
    with pytest.raises(BadInputError, match="does not sample a v model: choose from dpmpp-3m-sde"):
        run("pingpong", V)
    with pytest.raises(BadInputError, match="does not sample a flow model: choose from euler"):
        run("lms", FLOW)
    with pytest.raises(BadInputError, match="steps"):
        run("auto", V, steps=0)
    with pytest.raises(BadInputError, match="sigma_min"):
        run("auto", V, sigma_min=0.0)


def test_the_seed_is_the_noise_and_progress_is_told() -> None:
    told: list[tuple[str, float]] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x)

    def make(seed: int) -> Tensor:
        return sample(
            network, 2, 3, seed=seed, steps=4, sigma_min=0.3, sigma_max=500.0, objective=V, device="cpu",
            progress=lambda stage, done: told.append((stage, done)),
        )  # fmt: skip

    assert torch.equal(make(1), make(1))
    assert not torch.equal(make(1), make(2))
    assert told[:4] == [("generate", 0.25), ("generate", 0.5), ("generate", 0.75), ("generate", 1.0)]


@pytest.fixture(scope="module", params=[(2, 4, 8), (2, 4, 4, 8, 8), (4, 2)])
def codec(request: pytest.FixtureRequest) -> Oobleck:
    strides = request.param
    net = Oobleck(OobleckConfig(latent_dim=4, channels=4, multiples=(1,) * len(strides), strides=strides))
    randomise(net)
    with torch.no_grad():  # so strong that a far-away latent still counts
        for name, value in net.named_parameters():
            if name.endswith("weight_g"):
                value.copy_(torch.full_like(value, 2.0))
    return net.double().eval()


@torch.no_grad()
@pytest.mark.parametrize("chunk", [5, 16, 1000])
def test_pieces_are_the_whole_decode(codec: Oobleck, chunk: int) -> None:
    latents = torch.randn(1, 4, 61, generator=torch.Generator().manual_seed(1)).double()
    whole = codec.decode(latents)[0].T.numpy()
    samples = len(whole) - 3
    blocks = list(sound_blocks(codec, latents, samples, chunk=chunk))
    assert all(block.dtype == np.float32 and block.shape[1] == 2 for block in blocks)
    joined = np.concatenate(blocks)
    assert joined.shape == (samples, 2)
    assert np.abs(joined - whole[:samples]).max() < 1e-5 * max(1.0, np.abs(whole).max())
    with pytest.raises(ValueError, match="samples, not"):
        next(sound_blocks(codec, latents, len(whole) + 1))


def test_a_normalised_sound_peaks_under_full_scale_and_silence_stays() -> None:
    blocks = [np.array([[0.1, -0.2]], np.float32), np.array([[3.0, 0.0], [1.0, -1.5]], np.float32)]
    out = np.concatenate(list(peak_normalised(blocks)))
    assert out.dtype == np.float32
    assert np.allclose(out, np.concatenate(blocks) * PEAK / 3)
    silent = np.zeros((4, 2), np.float32)
    assert np.array_equal(next(peak_normalised([silent])), silent)
    assert list(peak_normalised([])) == []


def test_configurations_beside_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "epoch=60-step=2818.safetensors"
    weights.touch()
    assert model_configs(weights) == {}
    described = {"model": {"diffusion": {"config": {}}}}
    for name in ("model_config_vl30.json", "model_config.json", "other.json"):
        (tmp_path / name).write_text(json.dumps(described))
    assert [path.name for path in model_configs(weights)] == ["model_config.json", "model_config_vl30.json"]
    own = weights.with_suffix(".json")
    own.write_text("{}")
    with pytest.raises(BadInputError, match="is not a configuration"):
        model_configs(weights)
    own.write_text(json.dumps(described))
    assert list(model_configs(weights)) == [own]
    assert weights_file(tmp_path) == weights_file(weights) == weights
    (tmp_path / "b.ckpt").touch()
    with pytest.raises(BadInputError, match=r"one weights file .* not b.ckpt, epoch"):
        weights_file(tmp_path)


def test_the_generation_of_the_code_shows_in_the_keys() -> None:
    assert layout_of(["transformer.pos_emb.emb.weight", "transformer.pos_emb_cond.emb.weight"]) == "lova"
    assert layout_of(["transformer.layers.0.to_scale_shift_gate.1.weight"]) == "lova"
    assert layout_of(["transformer.layers.0.to_scale_shift_gate", "transformer.pos_emb.emb.weight"]) == "current"
