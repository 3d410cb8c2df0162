"""TempoTokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.objectives import Network
from synchresis.encoders import beats as front
from synchresis.encoders.clip_prompt import PLACEHOLDERS, ClipPrompt, tower_keys
from synchresis.encoders.resampling import sinc_resampled
from synchresis.nn.beats import Beats, BeatsConfig
from synchresis.nn.mapper import Mapper, MapperConfig
from synchresis.systems import tempotokens, video_base
from synchresis.systems.latent_unet import Schedule
from synchresis.systems.video_base import Zeroscope

from .common import Adapter, Case, Check, Outputs


def beside(case: Case, name: str) -> Case:
    return Case(case.folder.parent / name)


def loaded_mapper(case: Case, sizes: dict[str, Any]) -> Mapper:
    net = Mapper(MapperConfig(sizes["input_size"], sizes["hidden_size"], sizes["output_size"])).eval()
    net.load_state_dict(case.weights())
    return net


def mapper(case: Case) -> Outputs:
    sizes = case.config
    net = loaded_mapper(case, sizes)
    sound, frames = case.io["audio_features"], sizes["seq_target_length"]
    plain = net(sound, frames)
    dropped = net(sound, frames, case.io["dropout_keep_mask"])
    return {
        "temporal_token": plain.temporal,
        "class_token_no_dropout": plain.pooled,
        "class_token_with_mask": dropped.pooled,
        "unary_potential_no_dropout": plain.potential_unary,
        "pairwise_potential": plain.potential_self,
    } | {f"local_window_{i + 1}": local for i, local in enumerate(plain.local)}


def audio_frontend(case: Case) -> Outputs:
    out: Outputs = {}
    for rate in case.config["rates"]:
        stereo = case.io[f"{rate}.stereo"]
        channels = [sinc_resampled(channel.numpy(), rate, case.config["target"]) for channel in stereo]
        mono = tempotokens.monaural(stereo.T.numpy(), rate)
        bank = front.filter_bank(mono)[0]
        out |= {
            f"{rate}.resampled": torch.stack([torch.from_numpy(channel) for channel in channels]),
            f"{rate}.mono": mono,
            f"{rate}.fbank": bank,
            f"{rate}.fbank_normalised": front.normalised(bank),
        }
    return {name: value for name, value in case.io.items() if name.endswith(".stereo")} | out


def loaded_beats(case: Case) -> Beats:
    net = Beats(BeatsConfig.from_cfg(case.config)).eval()
    net.load_state_dict(case.weights())
    return net


def check_beats(case: Case) -> None:
    """The padded case is compared where there is sound; the rest says nothing."""
    net, io = loaded_beats(case), case.io
    names = sorted(name.removesuffix(".waveform") for name in io if name.endswith(".waveform"))
    assert names
    for name in names:
        sound = io[f"{name}.waveform"]
        bank = front.normalised(front.filter_bank(sound))
        heard = net(bank)
        got = {
            "fbank_normalised": (bank, 1.5e-4),
            "patch_embedding": (heard.patches, 2e-4),
            "x": (heard.layers[-1], 2e-4),
            "layers_cat": (heard.concatenated, 2e-4),
            "lprobs": (net.classes(heard), 1e-5),
        } | {f"layer{i}": (layer, 2e-4) for i, layer in enumerate(heard.layers)}
        expected = {k.removeprefix(f"{name}."): v for k, v in io.items() if k.startswith(f"{name}.")}
        assert expected.keys() - {"waveform", "padded.valid_samples", "padded.layers_cat"} <= got.keys()
        for key, (value, limit) in got.items():
            assert value.shape == expected[key].shape
            assert (value - expected[key]).abs().max() <= limit, (name, key)
        if "padded.layers_cat" in expected:
            padding = torch.arange(sound.shape[1]) >= expected["padded.valid_samples"][:, None]
            padded = net(bank, front.frames_outside(padding, bank.shape[1]))
            assert padded.outside is not None
            assert padded.outside.any()
            inside = ~padded.outside
            difference = (padded.concatenated - expected["padded.layers_cat"])[inside].abs().max()
            assert difference <= 2e-4, (name, difference)


def loaded_text(case: Case) -> ClipPrompt:
    sizes = {name: value for name, value in case.config.items() if name != "placeholder_ids"}
    net = ClipPrompt({"network": sizes, "tokenizer_bytes": 1, "padding": sizes["pad_token_id"]}).eval()
    published = {name: value for name, value in case.weights().items() if not name.endswith("position_ids")}
    net.tower.load_state_dict(tower_keys(published, net.tower))
    return net


def vectors(io: dict[str, Tensor], ids: dict[str, int], temporal: str, pooled: str) -> dict[int, Tensor]:
    frames = io[temporal].shape[1]
    given = [io[temporal][0], *(io[f"local_window_{i}"][0] for i in range(1, 5)), io[pooled].expand(frames, -1)]
    return {ids[word]: vector for word, vector in zip(PLACEHOLDERS, given, strict=True)}


def text_encoder(case: Case) -> Outputs:
    net, io = loaded_text(case), case.io
    told = vectors(io, case.config["placeholder_ids"], "temp_token", "class_token")
    out = {}
    for name in (key.removesuffix(".input_ids") for key in io if key.endswith(".input_ids")):
        out[f"{name}.encoder_hidden_states"] = net(io[f"{name}.input_ids"], {} if name == "unconditional" else told)
    inputs = {name: value for name, value in io.items() if not name.endswith(".encoder_hidden_states")}
    return inputs | out


def loaded_base(case: Case) -> Zeroscope:
    """The UNet of the case; words and autoencoder are not asked."""
    config = video_base.SMALL | {"unet": case.config}
    width = case.config["cross_attention_dim"]
    config["text"] = config["text"] | {"network": config["text"]["network"] | {"hidden_size": width}}
    networks = video_base.build(config)
    networks["unet"].load_state_dict(case.weights())
    for network in networks.values():
        network.eval()
    return Zeroscope(config, networks)


def unet3d(case: Case) -> Outputs:
    base, io = loaded_base(case), case.io
    frames = io["sample"].shape[2]
    repeated = io["encoder_hidden_states_per_clip"].repeat_interleave(frames, 0)
    return {
        "out_per_frame": base.predict(io["sample"], io["timestep"], io["encoder_hidden_states_per_frame"]),
        "out_per_clip": base.predict(io["sample"], io["timestep"], repeated),
    }


def guided_over(
    base: Zeroscope, states: Tensor, null: Tensor, guidance: float, shape: tuple[int, int]
) -> Callable[[Sequence[int]], Network]:
    """The guided network for some frames, on columns."""

    def predict(x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        return tempotokens.columns(base.predict(tempotokens.pictured(x, base.channels, *shape), t, states))

    def make(frames: Sequence[int]) -> Network:
        told = states[list(frames)]
        return guided(predict, {"states": null.expand_as(told)}, [Branch({"states": told}, guidance)])

    return make


def check_round_robin(case: Case) -> None:
    """Every call of the solver: the newest clean estimate within a thousandth of what it is; and the end."""
    base, io, sizes = loaded_base(beside(case, "unet3d")), case.io, case.config
    schedule = Schedule.from_dict(sizes["scheduler_config"])
    times = tempotokens.timesteps(schedule, sizes["steps"])
    assert times == sizes["timesteps_diffusers_0_31"] == sizes["timesteps_diffusers_0_18"]
    total, shape = sizes["frames"], tuple(sizes["latent_shape"][-2:])
    names = [name.removesuffix(".final_latents") for name in io if name.endswith(".final_latents")]
    assert names
    for name in names:
        per_clip = "clip_conditioning" in name
        states = io["cond_per_clip"].expand(total, -1, -1) if per_clip else io["cond_per_frame"]
        make = guided_over(base, states, io["uncond"], sizes["guidance_scale"], shape)  # type: ignore[arg-type]
        windows = sizes[name]["windows_per_step"]
        window, rotated = total // windows, windows > 1 or name.startswith("loop")
        shifts = sizes[name]["shifts"] if rotated else [0]
        network = tempotokens.rotating(make, total, window, shifts, follow="unrotated" not in name)
        skip = round(float(name.removeprefix("init_video_")) * len(times)) if name.startswith("init_video") else 0
        estimates: list[Tensor] = []
        final = tempotokens.solve(
            network,
            tempotokens.columns(io[f"{name}.initial_noise"]),
            schedule,
            times,
            clean=tempotokens.columns(io["init_video.latents"]) if skip else None,
            skip=skip,
            end="zero" if "0_31" in name else "least",
            watch=lambda i, x, denoised, kept=estimates: kept.append(denoised),
        )
        assert io[f"{name}.call_t"].tolist() == [t for t in times[skip:] for _ in range(windows)]
        expected = io[f"{name}.call_x0"].unflatten(0, (-1, windows)).flatten(1, 2)  # [steps, frames, C, h, w]
        moved = 0
        assert len(estimates) == len(expected)
        for i, (estimate, there) in enumerate(zip(estimates, expected, strict=True)):
            moved += shifts[i % len(shifts)]
            here = tempotokens.pictured(estimate, base.channels, *shape)[0].transpose(0, 1).roll(moved, 0)
            limit = 2e-2 if i else 1e-3
            assert (here - there).abs().max() <= limit, (name, i, float((here - there).abs().max()))
        latents = tempotokens.pictured(final, base.channels, *shape)
        difference = float((latents - io[f"{name}.final_latents"]).abs().max())
        assert difference <= 2e-2, (name, difference)


def check_end_to_end(case: Case) -> None:
    io, sizes = case.io, case.config
    heard = loaded_beats(beside(case, "beats"))(front.normalised(front.filter_bank(io["waveform"])))
    frames = sizes["mapper"]["seq_target_length"]
    tokens = tempotokens.spread_tokens(heard.concatenated, published=True, count=frames)
    mapped = loaded_mapper(case, sizes["mapper"])(tokens, frames)
    text = loaded_text(beside(case, "text_encoder"))
    ids = beside(case, "text_encoder").config["placeholder_ids"]
    told = tempotokens.vectors_of(mapped)
    states = text(io["input_ids"], {ids[word]: told[:, i] for i, word in enumerate(PLACEHOLDERS)})
    null = text(io["uncond_ids"])
    got = {
        "beats_layers_cat": heard.concatenated,
        "temporal_token": mapped.temporal,
        "class_token_no_dropout": mapped.pooled,
        "cond_states": states,
        "uncond_states": null,
    } | {f"local_window_{i + 1}": local for i, local in enumerate(mapped.local)}
    for name, value in got.items():
        assert (value - io[name]).abs().max() <= 2e-4, name
    schedule = Schedule.from_dict(sizes["scheduler"])
    times = tempotokens.timesteps(schedule, sizes["steps"])
    assert times == io["timesteps"].tolist()
    noise = io["initial_noise"]
    shape = tuple(noise.shape[-2:])
    make = guided_over(loaded_base(beside(case, "unet3d")), states, null, sizes["guidance_scale"], shape)  # type: ignore[arg-type]
    before: list[Tensor] = []
    network = make(range(noise.shape[2]))
    final = tempotokens.solve(
        lambda i, x, t: network(x, t),
        tempotokens.columns(noise),
        schedule,
        times,
        watch=lambda i, x, denoised: before.append(x / (1 + schedule.sigma(times[i]) ** 2) ** 0.5),
    )
    after = torch.stack([tempotokens.pictured(x, noise.shape[1], *shape) for x in [*before[1:], final]])
    difference = float((after - io["latents_after_step"]).abs().max())
    assert difference <= 3e-2, difference


ADAPTERS: dict[str, Adapter | Check] = {
    "tempotokens/mapper": Adapter(
        mapper,
        2e-5,
        outputs=("temporal", "local", "class_token_no", "class_token_with", "unary", "pairwise"),
    ),
    "tempotokens/audio_frontend": Adapter(
        audio_frontend, 1e-5, special={".fbank": 2e-3, ".fbank_normalised": 1.5e-4}, outputs=("",)
    ),
    "tempotokens/beats": check_beats,
    "tempotokens/text_encoder": Adapter(text_encoder, 2e-5, outputs=("",)),
    "tempotokens/unet3d": Adapter(unet3d, 1e-4),
    "tempotokens/round_robin": check_round_robin,
    "tempotokens/end_to_end": check_end_to_end,
}
