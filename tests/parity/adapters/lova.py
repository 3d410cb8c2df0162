"""LoVA and current stable-audio-tools."""

from __future__ import annotations

import torch
from torch import Tensor

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import classifier_free
from synchresis.diffusion.objectives import FLOW, V, shift_times
from synchresis.nn.conditioners import Conditioners, Routing, time_aligned, whole
from synchresis.nn.dit import DiT, DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig

from .common import Adapter, Case, Check, Outputs

# The DiT -------------------------------------------------------------------------------------------


def lova_dit(case: Case) -> Outputs:
    net = DiT(DiTConfig.from_dict(case.config, "lova")).eval()
    net.load_state_dict(case.weights("model."))
    io = case.io
    x, t, cross, global_cond = io["x"], io["t"], io["cond"], io["global"]
    plain, hidden = net(x, t, cross=cross, return_hidden=True)

    def guided(scale: float, phi: float = 0.0, negative: bool = False, **conditions: Tensor) -> Tensor:
        against = case.given(negative="negative", negative_mask="negative_mask") if negative else {}
        return classifier_free(net, {"cross": cross, **conditions}, scale, scale_phi=phi, **against)(x, t)

    out = {
        "out_plain": plain,
        "out_global": net(x, t, cross=cross, global_cond=global_cond),
        "out_cfg3": guided(3),
        "out_cfg3_phi": guided(3, phi=0.75),
        "out_cfg3_neg": guided(3, negative=True),
        "out_cfg3_global": guided(3, global_cond=global_cond),
        "out_uncond": net(x, t, cross=torch.zeros_like(cross)),
        "out2": net(io["x2"], io["t2"], cross=io["cond2"]),
    }
    if "prepend" in io:
        out["out_prepend"] = net(x, t, cross=cross, prepend=io["prepend"])
        out["out_prepend_cfg3"] = guided(3, prepend=io["prepend"])
        out["out_prepend_global"] = net(x, t, cross=cross, prepend=io["prepend"], global_cond=global_cond)
    return out | {f"out_hidden_{i}": stream for i, stream in enumerate(hidden)}


def sat_dit(case: Case) -> Outputs:
    net = DiT(DiTConfig.from_dict(case.config["config"])).eval()
    net.load_state_dict(case.weights("model."))
    x, t = case.io["x"], case.io["t"]
    conditions = case.given(cross="cond", global_cond="global", prepend="prepend")
    without_global = {name: value for name, value in conditions.items() if name != "global_cond"}
    plain, hidden = net(x, t, **conditions, return_hidden=True)
    objective = V if case.config["diffusion_objective"] == "v" else FLOW
    narrow = {"interval": (0.0, 0.2), "objective": objective}
    return {
        "out_plain": plain,
        "out_noglobal": net(x, t, **without_global),
        "out_cfg3": classifier_free(net, conditions, 3)(x, t),
        "out_cfg3_phi": classifier_free(net, conditions, 3, scale_phi=0.75)(x, t),
        "out_interval": classifier_free(net, conditions, 3, **narrow)(x, t),
    } | {f"out_hidden_{i}": stream for i, stream in enumerate(hidden)}


# Oobleck -------------------------------------------------------------------------------------------


def oobleck(case: Case) -> Outputs:
    net = Oobleck(OobleckConfig.from_dict(case.config)).eval()
    net.load_state_dict(case.weights())
    io = case.io
    mean, std = net.encode(io["audio"])
    raw = net.encoder(io["audio"])
    return {
        "out_encoder": raw,
        "out_mean": mean,
        "out_scale": raw.chunk(2, dim=1)[1],
        "out_std": std,
        "out_latent": net.sample(mean, std, io["noise"]),
        "out_kl": net.divergence(mean, std)[None],
        "out_audio": net.decode(io["latent"]),
        "out_audio_long": net.decode(io["latent_long"]),
        "out_audio_chunked": net.decode(io["latent_long"], chunk=16, overlap=4),
        "out_mean_odd": net.encode(io["audio_odd"])[0],
    }


# Conditions ----------------------------------------------------------------------------------------


def conditioners(case: Case) -> Outputs:
    """The numbers by our module, the frame features as they came, and both where the routing sends them."""
    conditioning, io = case.config["conditioning"], case.io
    net = Conditioners.from_dict(conditioning).eval()
    net.load_state_dict(case.weights())
    conditions = net({name: io[name] for name in net.conditioners})
    for described in conditioning["configs"]:
        if described["type"] == "video_feature":
            conditions[described["id"]] = whole(io[described["id"]])
        elif described["type"] == "time_align":
            signals = [io[f"time_align_{i}"] for i in range(sum(name.startswith("time_align_") for name in io))]
            conditions[described["id"]] = time_aligned(signals, described["config"]["output_dim"])
    joined = Routing.from_dict(case.config["routing"]).join(conditions)
    out = {}
    for name, (tokens, mask) in conditions.items():
        out |= {f"out_{name}": tokens, f"out_{name}_mask": mask}
    places = {
        "cross": "out_cross_attn_cond",
        "context_mask": "out_cross_attn_mask",
        "global_cond": "out_global_cond",
        "prepend": "out_prepend_cond",
        "prepend_mask": "out_prepend_cond_mask",
        "concat": "out_input_concat_cond",
    }
    return out | {places[name]: value for name, value in joined.items()}


# Sampling ------------------------------------------------------------------------------------------


def lova_sampling(case: Case) -> Outputs:
    model = case.config["model"]
    net = DiT(DiTConfig.from_dict(model["diffusion"]["config"], "lova")).eval()
    net.load_state_dict(case.weights("model.model."))
    codec = Oobleck(OobleckConfig.from_dict(model["pretransform"])).eval()
    codec.load_state_dict(case.weights("pretransform.model."))
    feature, start, step_noise = case.io["feature"], case.io["noise"], case.io["step_noise"]
    steps = len(step_noise) + 1

    def noise(stream: int) -> Tensor:
        return step_noise[stream - 1]

    guided = classifier_free(net, {"cross": feature}, 3)
    denoiser = samplers.v_denoiser(guided)
    sigmas = samplers.log_sigmas(steps, 0.3, 500)
    times = samplers.linear_times(steps)
    first = start * sigmas[0]
    out = {
        "out_sigmas": torch.tensor(sigmas),
        "out_v0": net(start, torch.full((len(start),), 0.9), cross=feature),
        "out_lms": samplers.lms(denoiser, first, sigmas),
        "out_dpm_2": samplers.dpm_2(denoiser, first, sigmas),
        "out_v_ddim_eta": samplers.v_ddim(guided, start, times, noise, eta=0.5),
    }
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(i: int, x: Tensor, denoised: Tensor) -> None:
        seen.append((x, denoised))

    for name, second, sample in (
        ("dpmpp_2m", "denoised", lambda: samplers.dpmpp_2m(denoiser, first, sigmas, watch=watch)),
        ("heun", "denoised", lambda: samplers.heun(denoiser, first, sigmas, watch=watch)),
        (
            "dpmpp_2m_sde",
            "denoised",
            lambda: samplers.dpmpp_2m_sde(denoiser, first, sigmas, noise, watch=watch),
        ),
        (
            "dpmpp_3m_sde",
            "denoised",
            lambda: samplers.dpmpp_3m_sde(denoiser, first, sigmas, noise, watch=watch),
        ),
        ("v_ddim", "pred", lambda: samplers.v_ddim(guided, start, times, watch=watch)),
    ):
        seen.clear()
        out[f"out_{name}"] = sample()
        out[f"out_{name}_x"] = torch.stack([x for x, _ in seen])
        out[f"out_{name}_{second}"] = torch.stack([denoised for _, denoised in seen])
    out["out_audio_dpmpp_3m_sde"] = codec.decode(out["out_dpmpp_3m_sde"])
    return out


def sat_samplers(case: Case) -> Outputs:
    io, steps, b = case.io, case.config["steps"], case.config["b"]
    start, init = io["noise"], io["init"]

    def network(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None, None]
        return torch.tanh(0.8 * x + io["a"]) * torch.cos(b * t) + 0.3 * x * torch.sin(3 * t)

    def noise(stream: int) -> Tensor:
        return io["step_noise"][stream - 1]

    grid, short = samplers.flow_times(steps), samplers.flow_times(steps, 0.6)
    linear = samplers.linear_times(steps)
    shifted = shift_times(torch.tensor(linear, dtype=torch.float64), start.shape[-1]).tolist()
    sigmas = samplers.log_sigmas(steps, 0.3, 50)
    alpha, sigma = V.levels(0.8)
    out = {
        "out_rf_t": torch.tensor(grid),
        "out_rf_t_06": torch.tensor(short),
        "out_euler": samplers.euler(network, start, grid),
        "out_dpmpp": samplers.flow_dpmpp(network, start, grid),
        "out_pingpong": samplers.pingpong(network, start, grid, noise),
        "out_rk4": samplers.rk4(network, start, linear),
        "out_euler_init06": samplers.euler(network, init * 0.4 + start * 0.6, short),
        "out_euler_linear_shift": samplers.euler(network, start, shifted),
        "out_v_ddim": samplers.v_ddim(network, start, linear),
        "out_v_ddim_eta": samplers.v_ddim(network, start, linear, noise, eta=0.7),
        "out_v_ddim_smax": samplers.v_ddim(network, init * alpha + start * sigma, samplers.linear_times(steps, 0.8)),
        "out_k_dpmpp_2m": samplers.dpmpp_2m(samplers.v_denoiser(network), start * sigmas[0], sigmas),
        "out_k_heun": samplers.heun(samplers.v_denoiser(network), start * sigmas[0], sigmas),
    }
    ramp = torch.linspace(0, 1, 11)
    for name in io:
        if name.startswith("out_shift_"):
            *_, length = name.split("_")
            out[name] = shift_times(ramp, int(length), sine="sine" in name)
    return out


ADAPTERS: dict[str, Adapter | Check] = {
    "lova/dit_vl30": Adapter(lova_dit, 1e-4),
    "lova/dit_noabs_prepend": Adapter(lova_dit, 1e-4),
    "lova/sat_dit_small": Adapter(sat_dit, 1e-4),
    "lova/sat_dit_adaln": Adapter(sat_dit, 1e-4),
    "lova/conditioners": Adapter(conditioners, 2e-5),
    "lova/oobleck": Adapter(oobleck, 5e-5),
    "lova/sampling": Adapter(lova_sampling, 1e-4, special={"_x": 5e-4, "out_v0": 5e-5}),
    "lova/sat_samplers": Adapter(sat_samplers, 1e-4),
}
