"""STA-V2A."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.guidance import Branch, guided
from synchresis.nn.attentive import AttentivePooling, PoolingConfig
from synchresis.nn.onset_head import LocalBranch, LocalConfig
from synchresis.systems import sta_v2a
from synchresis.systems.latent_unet import Schedule, columns, pictured, sample
from synchresis.training.onsets import onset_loss

from .common import Adapter, Case, Check, Outputs


def onset_predictor(case: Case) -> Outputs:
    told = case.config
    scale = Fraction(told["interpolate_scale"])  # positions of a row
    rates = {"rate": scale.denominator, "onset_rate": scale.numerator}
    net = local_branch(case, "weights.safetensors", told["TransVideoFeature"], told["use_feature_window"], **rates)
    got = net(case.io["in.cavp"], told["onset_frames"])
    labels = case.io["in.labels"]
    losses = onset_loss(got.logits, labels)
    windows = {f"out.window_{i + 1}": mean for i, mean in enumerate(got.means)}
    return windows | {
        "out.frame_token": got.token,
        "out.onset_feature": got.feature,
        "out.onset_logits": got.logits,
        "out.ce_per_frame": losses.flatten(),
        "out.ce_mean": losses.mean()[None],
    }


def local_branch(case: Case, file: str, sizes: Mapping[str, int], windows: bool, **rates: int) -> LocalBranch:
    widths = {"input": sizes["input_size"], "hidden": sizes["hidden_size"], "width": sizes["output_size"], **rates}
    net = LocalBranch(LocalConfig.from_dict(widths if windows else widths | {"windows": []}))
    tensors = case.weights(file=file)
    net.load_state_dict({k: v for k, v in tensors.items() if k.startswith(("trans_cvap_feature.", "pre_onset."))})
    return net


def attentive_pool(case: Case) -> Outputs:
    told = case.config
    net = AttentivePooling(PoolingConfig(told["input_size"], told["embed"], told.get("n_tokens", 4)))
    net.load_state_dict(seeded(net, told) if "seed" in told else case.weights("global_video_feature."))
    video = case.io["in.video"]
    got = named(net.pool(video), "nodrop.out.") | {"out.projected": net.fc(video)}
    if "in.dropout_keep" in case.io:
        got |= named(net.pool(video, keep=case.io["in.dropout_keep"]), "drop.out.")
    return got


def named(pooled: Any, prefix: str) -> Outputs:
    stages = ("potential_unary", "potential_self", "pooled", "tokens")
    return {prefix + stage: getattr(pooled, stage) for stage in stages}


def seeded(net: AttentivePooling, told: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by the rule of the case's README, checked against the sums it gives."""
    draw = np.random.RandomState(told["seed"])
    tensors = {}
    for name, value in sorted(net.state_dict().items()):
        drawn = draw.standard_normal(tuple(value.shape))
        drawn = drawn / np.sqrt(np.prod(value.shape[1:])) if value.ndim > 1 else drawn * 0.02
        tensors[name] = torch.from_numpy(drawn.astype(np.float32))
        sums = told["weight_checksums_sum_abssum"][name]
        assert np.allclose([drawn.sum(), np.abs(drawn).sum()], sums, rtol=1e-4, atol=1e-3), name
    return tensors


def denoiser(case: Case, file: str = "weights.safetensors") -> sta_v2a.ControlledUNet:
    io = case.io
    latents = next(io[name] for name in ("in.sample", "in.init_noise") if name in io)
    width = case.weights("controlnet.controlnet_cond_embedding.", file)["conv_out.weight"].shape[1]
    unet, net = sta_v2a.build_denoiser(case.config["unet"], width)
    for module, prefix in ((unet, "unet."), (net, "controlnet.")):
        module.load_state_dict(case.weights(prefix, file))
        module.eval()
    return sta_v2a.ControlledUNet(unet, net, latents.shape[-1], sees_padding=True)


def controlnet_unet(case: Case) -> Outputs:
    io, net = case.io, denoiser(case)
    x, t = columns(io["in.sample"]), io["in.timestep"]
    told = net.prepare(io["in.context"], io["in.mask"] > 0.5, io["in.onset_feature"])
    downs, mid = net.residuals(io["in.sample"], t, told)
    alone = net.unet(io["in.sample"], t, told.context, encoder_attention_mask=io["in.mask"]).sample
    got = {f"out.control_down_{i}": value for i, value in enumerate(downs)}
    return got | {
        "out.control_mid": mid,
        "out.noise_pred": pictured(net(x, t, told), net.bins),
        "out.noise_pred_nocontrol": alone,
    }


def sampling(case: Case) -> Outputs:
    """The whole published loop: both branches of the picture, text guidance, ancestral steps with the given noise."""
    told, io = case.config, case.io
    files = {name.removesuffix(".*"): place for names, place in told["weights_from"].items()
             for name in names.split(", ")}
    files = {name: place.split(" (")[0] for name, place in files.items()}
    net = denoiser(case, files["unet"])
    video = io["in.cavp"]
    latents = io["in.init_noise"].shape[2]
    mlp = case.weights("trans_cvap_feature.", files["trans_cvap_feature"])
    sizes = {"input_size": mlp["fc1.weight"].shape[1], "hidden_size": len(mlp["fc1.bias"]),
             "output_size": len(mlp["fc4.bias"])}
    local = local_branch(case, files["trans_cvap_feature"], sizes, told["use_feature_window"])
    onset = local(video, latents).feature
    tokens = pooled(case, files, video) if told["has_global_video_feature"] else None
    text, mask = io["in.text_embeds_uncond_then_cond"], io["in.text_mask_uncond_then_cond"] > 0.5
    halves = [
        sta_v2a.conditions(words, counted, tokens, onset)
        for words, counted in zip(text.chunk(2), mask.chunk(2), strict=True)
    ]
    network = guided(net, halves[0], [Branch(halves[1], told["guidance_scale"])])
    start = columns(io["in.init_noise"])
    schedule = Schedule.from_dict(told["scheduler"])
    times = schedule.timesteps(told["num_steps"], told["scheduler"]["timestep_spacing"])
    joined = net.prepare(*(torch.cat([half[name] for half in halves]) for name in ("context", "mask", "onset")))
    first = torch.full((2 * len(start),), float(times[0]))

    def noise(stream: int) -> Tensor:
        return start if stream == 0 else columns(io[f"in.step_noise_{stream - 1}"])

    states: list[Tensor] = []
    out = sample(
        network, noise, schedule, steps=told["num_steps"], spacing=told["scheduler"]["timestep_spacing"],
        watch=lambda _i, x, _denoised: states.append(pictured(x, net.bins)),
    )  # fmt: skip
    assert torch.equal(states[0], io["in.init_noise"])
    after = {f"ref.latents_after_{i - 1}": state for i, state in enumerate(states) if i}
    return after | {
        "out.latents": pictured(out, net.bins),
        "ref.timesteps": torch.tensor(times),
        **({} if tokens is None else {"ref.video_tokens": tokens}),
        "ref.unet_out_step0": pictured(net(start.repeat(2, 1, 1), first, joined), net.bins),
        "ref.guided_step0": pictured(network(start, first[: len(start)]), net.bins),
    }


def pooled(case: Case, files: Mapping[str, str], video: Tensor) -> Tensor:
    weights = case.weights("global_video_feature.", files["global_video_feature"])
    embed, width = weights["fc.weight"].shape
    pool = AttentivePooling(PoolingConfig(width, embed, len(weights["conv.weight"])))
    pool.load_state_dict(weights)
    return pool(video)


ADAPTERS: dict[str, Adapter | Check] = {
    "sta_v2a/onset_predictor": Adapter(onset_predictor, 1e-5),
    "sta_v2a/attentive_pool": Adapter(attentive_pool, 1e-5, outputs=("out.", "nodrop.", "drop.")),
    "sta_v2a/attentive_pool_full_seeded": Adapter(attentive_pool, 1e-5, outputs=("nodrop.",)),
    "sta_v2a/controlnet_unet": Adapter(controlnet_unet, 2e-4),
    "sta_v2a/sampling": Adapter(sampling, 3e-4, outputs=("out.", "ref.")),
}
