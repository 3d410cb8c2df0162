"""Stable-Foley and its stage one."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import classifier_free
from synchresis.nn.control import ControlledDiT
from synchresis.nn.dit import DiTConfig

from .common import Adapter, Case, Check, Outputs

# The control branch ---------------------------------------------------------------------


def _controlled(case: Case, config: dict[str, Any], weights: Outputs) -> ControlledDiT:
    depth = int(config["controlnet_depth_factor"] * config["dit"]["depth"])
    net = ControlledDiT(DiTConfig.from_dict(config["dit"], "lova"), depth).eval()
    net.load_state_dict(weights)
    return net


_CONTROLLED = {"cross": "cross_attn_cond", "global_cond": "global_cond", "control": "controlnet_cond"}


def controlnet_dit(case: Case) -> Outputs:
    net = _controlled(case, case.config, case.weights())
    x, t = case.io["x"], case.io["t"]
    conditions = case.given(**_CONTROLLED)
    out, hidden, residuals = net(x, t, **conditions, return_hidden=True)

    kept = 1 - case.io["dropout_mask"].float()
    thrice = {name: value.repeat(3, *[1] * (value.ndim - 1)) for name, value in conditions.items()}
    thrice["cross"] = thrice["cross"] * kept
    negative = case.io["negative_cross_attn_cond"]
    return {
        "base_hidden_first": hidden[0],
        "base_hidden_last": hidden[-1],
        "out_cfg1": out,
        "out_cfg7": classifier_free(net, conditions, 7)(x, t),
        "out_cfg2_phi075": classifier_free(net, conditions, 2, scale_phi=0.75)(x, t),
        "out_cfg3_negative": classifier_free(net, conditions, 3, negative=negative)(x, t),
        "out_scale_embeds_0": net(x, t, **conditions, scale_embeds=0),
        "out_scale_embeds_half": net(x, t, **conditions, scale_embeds=0.5),
        "out_scale_cond_half": net(x, t, **conditions, scale_cond=0.5),
        "out_zero_control": net(x, t, **conditions | {"control": torch.zeros_like(conditions["control"])}),
        "out_dropout_x3": net(x.repeat(3, 1, 1), t.repeat(3), **thrice),
    } | {f"controlnet_embed_{i}": residual for i, residual in enumerate(residuals)}


def foley_sampling(case: Case) -> Outputs:
    file = case.config["weights"]
    config = json.loads((case.folder / file).with_name("config.json").read_text())
    net = _controlled(case, config, case.weights(file=file))
    low, high, steps = (case.config[name] for name in ("sigma_min", "sigma_max", "steps"))
    guided = classifier_free(net, case.given(**_CONTROLLED), case.config["cfg_scale"])
    denoiser = samplers.v_denoiser(guided)
    sigmas, start, step_noise = samplers.log_sigmas(steps, low, high), case.io["noise"], case.io["step_noise"]
    states: list[Tensor] = []
    sampled = samplers.dpmpp_3m_sde(
        denoiser,
        start * sigmas[0],
        sigmas,
        lambda stream: step_noise[stream - 1],
        eta=case.config["eta"],
        watch=lambda i, x, denoised: states.append(x),
    )
    return {
        "sigmas": torch.tensor(sigmas),
        "sigmas_100": torch.tensor(samplers.log_sigmas(100, low, high)),
        "denoised_sigma_500_10_0p3": torch.stack([denoiser(start * s, s) for s in (500.0, 10.0, 0.3)]),
        "sampled": sampled,
        "sampled_eta0": samplers.dpmpp_3m_sde(denoiser, start * sigmas[0], sigmas, None, eta=0.0),
        "x_before_step": torch.stack(states),
    }


ADAPTERS: dict[str, Adapter | Check] = {
    "stable_foley/controlnet_dit": Adapter(controlnet_dit, 1e-4, outputs=("out", "base_hidden", "controlnet_embed")),
    "stable_foley/sampling": Adapter(
        foley_sampling,
        1e-4,
        relative=True,
        outputs=("sampled", "sigmas", "denoised", "x_before_step"),
    ),
}
