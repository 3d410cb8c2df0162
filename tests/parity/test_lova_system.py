"""The whole of LoVA on the original's own trajectories: checkpoint and JSON read by the system, sampled by name."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

from synchresis.encoders import clip as eye
from synchresis.systems import lova, stable_audio
from synchresis.timeline import Track

from .adapters import Case
from .roots import root

# The names in the case, and ours.
NAMES = {
    "dpmpp_3m_sde": "dpmpp-3m-sde",
    "dpmpp_2m_sde": "dpmpp-2m-sde",
    "dpmpp_2m": "dpmpp-2m",
    "heun": "k-heun",
    "lms": "k-lms",
    "dpm_2": "k-dpm-2",
    "v_ddim": "v-ddim",
}


@pytest.fixture(scope="module")
def case() -> Case:
    folder = root() / "lova" / "sampling"
    if not folder.is_dir():
        pytest.skip("lova/sampling is not among the cases")
    return Case(folder)


@pytest.fixture(scope="module")
def system(case: Case, tmp_path_factory: pytest.TempPathFactory) -> lova.Lova:
    place = tmp_path_factory.mktemp("original")
    shutil.copy(case.folder / "weights.safetensors", place / "weights.safetensors")
    (place / "model_config_case.json").write_text(json.dumps(case.config))
    # The case gives features instead of pictures: any eye of their width will do.
    width = case.config["model"]["diffusion"]["config"]["cond_token_dim"]
    eye.build(eye.SMALL | {"projection_dim": width}).save_pretrained(place / "clip")  # type: ignore[operator]
    return lova.Lova(lova.read_original(place / "weights.safetensors", {"clip": place / "clip"}), "cpu")


@pytest.mark.parametrize("name", list(NAMES))
def test_the_system_follows_the_original(
    name: str, case: Case, system: lova.Lova, monkeypatch: pytest.MonkeyPatch
) -> None:
    io = case.io
    start, fresh = io["noise"], io["step_noise"]
    length, ratio = start.shape[-1], system.codec.config.ratio
    for item in range(len(start)):
        plan = lova.LovaPlan(
            duration=Fraction(length * ratio, system.rate),
            rate=system.rate,
            features=Track(io["feature"][item].numpy(), Fraction(22)),
            latents=length,
            window=length,
            overlap=0,
            seed=0,
            steps=len(fresh) + 1,
            guidance=3.0,
            sampler=stable_audio.sampler_named(NAMES[name], system.objective),
            settings=lova.Settings(normalise=False),
            notes=[],
        )
        stored = [start[item : item + 1], *fresh[:, item : item + 1]]
        monkeypatch.setattr(stable_audio, "noise_source", lambda *_, stored=stored, **__: stored.__getitem__)
        seen: list[torch.Tensor] = []
        blocks = lova.sound_blocks

        def heard(codec, latents, samples, progress, seen=seen, blocks=blocks):  # type: ignore[no-untyped-def]
            seen.append(latents)
            return blocks(codec, latents, samples, progress, chunk=5)

        monkeypatch.setattr(lova, "sound_blocks", heard)
        sound = np.concatenate(list(system.stream(plan)))
        monkeypatch.setattr(lova, "sound_blocks", blocks)
        assert float((seen[0][0] - io[f"out_{name}"][item]).abs().max()) < 1e-4
        if f"out_audio_{name}" in io:
            assert np.abs(sound.T - io[f"out_audio_{name}"][item].numpy()).max() < 1e-4


def test_the_published_defaults(case: Case, system: lova.Lova) -> None:
    settings = lova.Settings()
    assert (settings.sigma_max, settings.sigma_min) == (500.0, 0.3)
    assert lova.DEFAULTS["v"] == ("dpmpp-3m-sde", 150, 7.0)
    assert float(case.io["out_sigmas"][0]) == pytest.approx(settings.sigma_max)
    assert float(case.io["out_sigmas"][-2]) == pytest.approx(settings.sigma_min)


def test_only_a_layer_that_is_never_applied_is_left_out(system: lova.Lova) -> None:
    ignored = {reason for report in system.loaded.reports for reason in report.ignored}
    assert ignored <= {"the original builds this projection and never applies it"}
