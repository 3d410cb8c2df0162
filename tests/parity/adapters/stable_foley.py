"""Stable-Foley and its stage one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import classifier_free
from synchresis.encoders import clap
from synchresis.nn.cavp import CAVP, CAVPConfig
from synchresis.nn.control import ControlledDiT
from synchresis.nn.dit import DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.systems.foley_envelope import encode_envelope
from synchresis.systems.stable_foley import Conditions
from synchresis.systems.weights import fill
from synchresis.timeline import rms_codes
from synchresis.training.rms_mapper import smoothed_cross_entropy

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


# The eye --------------------------------------------------------------------------------


def _cavp_outputs(net: CAVP, video: Tensor, pools: bool) -> Outputs:
    names = ("stem", *(f"layer{i}_spatial_mean" for i in range(1, 5)))
    maps = net.video_encoder.stages(video.transpose(1, 2))
    spatial = [m.mean(dim=(3, 4)) for m in maps]
    out = dict(zip(names, spatial, strict=True)) | {"pooled": spatial[-1]}
    out |= {"features": net.project(spatial[-1]), "features_normalised": net(video)}
    return out | ({"features_pooled16_normalised": net(video, pool=True)} if pools else {})


def cavp_tiny(case: Case) -> Outputs:
    sizes = {name: case.config[name] for name in ("base_channels", "stage_blocks", "embed_dim")}
    net = CAVP(CAVPConfig.from_dict(sizes)).eval()
    net.load_state_dict(case.weights())
    return _cavp_outputs(net, case.io["video"], "features_pooled16_normalised" in case.io)


def _by_rule(name: str, shape: list[int]) -> Tensor:
    """The weights of the full-size case: a stream of random numbers per key."""
    z = np.random.Generator(np.random.PCG64(crc32(name.encode()))).standard_normal(shape)
    value = torch.from_numpy(np.asarray(z, np.float32))
    if name.endswith("running_mean") or name.endswith(".bias"):
        return 0.1 * value
    if name.endswith("running_var"):
        return 0.75 + 0.25 * value.tanh()
    if name.endswith("bn.weight"):
        return 1 + 0.2 * value.tanh()
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    return value * (1.5 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else value


def cavp_full(case: Case) -> Outputs:
    net = CAVP(CAVPConfig(embed_dim=case.config["embed_dim"])).eval()
    net.load_state_dict({k: _by_rule(k, list(v.shape)) for k, v in net.state_dict().items()})
    small = case.io["video_small"]
    scale = case.config["size"] // small.shape[-1]
    video = small.repeat_interleave(scale, -1).repeat_interleave(scale, -2)[None]
    sums = [net.state_dict()[name].double().sum() for name in case.config["checksum_keys"]]
    return _cavp_outputs(net, video, False) | {"checksum_sums": torch.stack(sums)}


# The ear --------------------------------------------------------------------------------


def _clap(config: dict[str, Any], weights: Outputs, source: Path) -> torch.nn.Module:
    sizes = {
        "patch_embeds_hidden_size": config["dims"]["embed_dim"],
        "depths": config["dims"]["depths"],
        "num_attention_heads": config["dims"]["num_heads"],
        "projection_dim": config["projection"],
    }
    assert clap.tower_of(clap.unprefixed(weights)) == sizes
    net = clap.build_audio(sizes)
    fill(net, clap.laion_keys(weights), component="clap", source=source, ignored=clap.IGNORED)
    return net


def clap_audio(case: Case) -> None:
    net = _clap(case.config, case.weights(), case.folder)
    io = case.io
    mel = clap.log_mel(io["waveform"], "fusion")
    stored = io["log_mel_db"]
    loud = stored > -60
    assert mel.shape == stored.shape
    assert loud.any()
    assert (mel - stored)[loud].abs().max() <= 2e-3
    branch = net.audio_model(input_features=stored[:, None]).pooler_output  # type: ignore[operator]
    assert (branch - io["branch_embedding"]).abs().max() <= 1e-5
    assert (clap.embed_mel(net, stored) - io["audio_embedding"]).abs().max() <= 1e-5
    assert (clap.embed_sound(net, io["waveform"], "fusion") - io["audio_embedding"]).abs().max() <= 5e-4


# Loudness -------------------------------------------------------------------------------


def rms_check(case: Case) -> None:
    io = {name: value.numpy() for name, value in case.io.items()}
    c = case.config
    levels, length = c["quantization_channels"], c["label_len"]

    def close(got: np.ndarray, expected: np.ndarray, limit: float = 1e-6) -> None:
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= limit

    def same_codes(got: np.ndarray, expected: np.ndarray) -> None:
        """Exact, but for an entry in a thousand next to the edge of a bin."""
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1
        assert np.count_nonzero(got != expected) <= max(0, round(expected.size / 1000))

    envelope = rms_codes.envelope_of(io["waveform"], c["rms_window_size"], c["low_pass_window_size"])
    close(envelope, io["envelope"], 5e-6)
    envelope = io["envelope"]
    codes = rms_codes.compress(envelope, levels)
    full = rms_codes.stretched(codes, levels)
    same_codes(codes[..., ::100], io["mulaw_full_dec100"])
    same_codes(full[..., ::100], io["discretised_full_dec100"])
    same_codes(rms_codes.nearest(full, length), io["discretised_resized"])
    close(rms_codes.nearest(envelope, length), io["envelope_resized"])
    same_codes(rms_codes.compress(rms_codes.nearest(envelope, length), levels), io["mulaw_resized"])
    labels = rms_codes.labels_of(envelope, length, levels)
    same_codes(labels, io["labels"])
    soft = rms_codes.smoothed(io["labels"][:, 0], c["sigma"], c["gls_window"], levels)
    close(soft, io["smoothed_labels"])
    close(smoothed_cross_entropy(case.io["pred_logits"], torch.from_numpy(soft)).numpy()[None], io["ce_loss"])
    mu = c["stage1_mu"]
    close(rms_codes.expanded(io["stage1_classes"], mu), io["stage1_expanded"])
    curves = next(name for name in io if name.startswith("stage1_envelope_"))
    at_length = rms_codes.curve_of(io["stage1_classes"], io[curves].shape[-1], mu)
    close(at_length[:, None], io[curves])
    line = next(name for name in io if name.startswith("mu127_codes_of_linspace"))
    assert (rms_codes.classes_of(np.linspace(0, 1, len(io[line])), mu) == io[line]).all()
    frame, hop = c["el1_frame"], c["el1_hop"]
    reference, generated = io["el1_reference"], io["el1_generated"]
    filled = np.pad(generated, (0, len(reference) - len(generated)))
    close(rms_codes.framed_rms(reference, frame, hop), io["el1_rms_reference"])
    close(rms_codes.framed_rms(filled, frame, hop), io["el1_rms_generated"])
    assert abs(rms_codes.envelope_l1(generated, reference, frame, hop) - io["el1"][0]) <= 1e-6


def control_path(case: Case) -> Outputs:
    io, c = case.io, case.config
    net = Oobleck(OobleckConfig.from_dict(c["pretransform"])).eval()
    prefix = next(k for k in case.weights() if "encoder.layers.0.bias" in k).removesuffix("encoder.layers.0.bias")
    net.encoder.load_state_dict(case.weights(f"{prefix}encoder."))
    sound = io["waveform"].double().numpy()
    rms = rms_codes.window_rms(sound, c["rms_window_size"])
    envelope = torch.from_numpy(rms_codes.box_filtered(rms, c["low_pass_window_size"]))
    heard = envelope.float().expand(-1, net.config.audio_channels, -1)
    mean, std = net.encode(heard)
    out = {
        "rms": torch.from_numpy(rms).float(),
        "envelope": envelope.float(),
        "encoder_out": net.encoder(heard),
        "encoder_out_dropped": net.encoder(torch.full_like(heard, -1.0)),
        "latent": net.sample(mean, std, io["noise"]),
    }
    # What the system does: the same in pieces, and of one channel.
    mono = net.encode(heard[:1, :1].expand(-1, net.config.audio_channels, -1))
    for one, whole in zip(encode_envelope(net, heard[0, 0], chunk=3), mono, strict=True):
        assert (one - whole).abs().max() <= 1e-5
    return out


# Conditions -----------------------------------------------------------------------------


def conditioners(case: Case) -> None:
    c, io = case.config, case.io
    eye = CAVP(CAVPConfig.from_dict(c["cavp"])).eval()
    eye.load_state_dict(case.weights("conditioners.frames.stage1_model."))
    ear = _clap(c["clap"], case.weights("clap."), case.folder)
    told = Conditions(
        c["cond_dim"], c["cavp"]["embed_dim"], c["clap"]["projection"], c["number"]["min_val"], c["number"]["max_val"]
    )
    own = {k: v for k, v in case.weights().items() if not k.startswith(("clap.", "conditioners.frames.stage1_model."))}
    told.load_state_dict(own)
    sight = eye(io["frames"].transpose(1, 2))
    heard = clap.embed_sound(ear, io["audio"].mean(1), "fusion")
    got = told(sight, heard, io["seconds_start"], io["seconds_total"])
    frames = io["frames"].shape[2]
    assert c["cross_attention_cond_ids"] == ["frames", "audio"]
    assert c["global_cond_ids"] == ["seconds_start", "seconds_total"]
    numbers = {name: told.conditioners[name](io[name]) for name in c["global_cond_ids"]}
    for value, expected, limit in (
        (sight, "cavp_features", 1e-4),
        (heard, "clap_audio_embedding", 5e-4),
        (got["cross"][:, :frames], "out_frames", 1e-4),
        (got["cross"][:, frames:], "out_audio", 5e-4),
        (numbers["seconds_start"], "out_seconds_start", 1e-5),
        (numbers["seconds_total"], "out_seconds_total", 1e-5),
        (got["cross"], "ci_cross_attn_cond", 5e-4),
        (got["global_cond"], "ci_global_cond", 1e-5),
    ):
        assert value.shape == io[expected].shape, expected
        assert (value - io[expected]).abs().max() <= limit, expected
    # Every mask of the original is all ones, and it drops them; ours has none.
    assert all((io[name] == 1).all() for name in io if "mask" in name)


_SIGHT = ("stem", "layer", "pooled", "features")

ADAPTERS: dict[str, Adapter | Check] = {
    "stable_foley/cavp_tiny": Adapter(
        cavp_tiny, 1e-4, special={"features": 2e-5, "normalised": 2e-5}, outputs=_SIGHT
    ),
    "stable_foley/cavp_full": Adapter(cavp_full, 1e-4, relative=True, outputs=(*_SIGHT, "checksum")),
    "stable_foley/clap_audio_tiny": clap_audio,
    "stable_foley/rms_codes": rms_check,
    "stable_foley/control_path": Adapter(
        control_path,
        2e-5,
        special={"rms": 5e-6, "envelope": 5e-6},
        outputs=("rms", "envelope", "encoder_out", "latent"),
    ),
    "stable_foley/conditioners": conditioners,
    "stable_foley/controlnet_dit": Adapter(controlnet_dit, 1e-4, outputs=("out", "base_hidden", "controlnet_embed")),
    "stable_foley/sampling": Adapter(
        foley_sampling,
        1e-4,
        relative=True,
        outputs=("sampled", "sigmas", "denoised", "x_before_step"),
    ),
}
