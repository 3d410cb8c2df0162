"""The stock classes of diffusers over the very weights of ours, for comparison (LoVA spec section 8)."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from synchresis.nn.dit import DiT, DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig

_DIT = (
    (r"^transformer\.", ""),
    (r"^layers\.", "transformer_blocks."),
    (r"\bpre_norm\b", "norm1"),
    (r"\bcross_attend_norm\b", "norm2"),
    (r"\bff_norm\b", "norm3"),
    (r"\bgamma$", "weight"),
    (r"\bbeta$", "bias"),
    (r"\bself_attn\b", "attn1"),
    (r"\bcross_attn\b", "attn2"),
    (r"\bto_out\b", "to_out.0"),
    (r"\bff\.ff\b", "ff.net"),
    (r"^project_(in|out)\b", r"proj_\1"),
    (r"^to_timestep_embed\b", "timestep_proj"),
    (r"^timestep_features\b", "time_proj"),
    (r"^to_global_embed\b", "global_proj"),
    (r"^to_cond_embed\b", "cross_attention_proj"),
)
_DIT_SPLIT = {"to_qkv": ("to_q", "to_k", "to_v"), "to_kv": ("to_k", "to_v")}
_UNITS = {"encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1")}
_UNITS["decoder"] = ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3")
_UNIT = ("snake1", "conv1", "snake2", "conv2")


def dit_keys(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a `DiT` under the names of `StableAudioDiTModel`; the values are views of the given ones."""
    theirs = {}
    for name, value in ours.items():
        if name == "transformer.rotary_pos_emb.inv_freq":
            continue  # the stock class is told its angles at every call
        for pattern, replacement in _DIT:
            name = re.sub(pattern, replacement, name)
        if name == "time_proj.weight":
            value = value[:, 0]
        joined = next((part for part in _DIT_SPLIT if f".{part}." in name), None)
        parts = _DIT_SPLIT[joined] if joined else ("",)
        for part, piece in zip(parts, value.chunk(len(parts)), strict=True):
            theirs[name.replace(joined, part) if joined else name] = piece
    return theirs


def dit_settings(config: DiTConfig) -> dict[str, Any]:
    """The arguments of `StableAudioDiTModel` for a configuration without what that class lacks."""
    plain = DiTConfig(
        io_channels=config.io_channels, embed_dim=config.embed_dim, depth=config.depth, num_heads=config.num_heads,
        cond_token_dim=config.cond_token_dim, project_cond_tokens=config.project_cond_tokens,
        global_cond_dim=config.global_cond_dim, adaln_per_block=config.adaln_per_block,
        max_positions=config.max_positions,
    )  # fmt: skip
    if config != plain or not (config.cond_token_dim and config.global_cond_dim):
        raise ValueError(f"diffusers has no DiT like {config}")
    return {
        "in_channels": config.io_channels,
        "num_layers": config.depth,
        "attention_head_dim": config.head_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_attention_heads": config.context_heads,
        "out_channels": config.io_channels,
        "cross_attention_dim": config.context_dim,
        "global_states_input_dim": config.global_cond_dim,
        "cross_attention_input_dim": config.cond_token_dim,
    }


def dit_twin(net: DiT) -> Any:
    """A `StableAudioDiTModel` in evaluation mode that shares the memory of net's weights."""
    from diffusers import StableAudioDiTModel

    with torch.device("meta"):
        twin = StableAudioDiTModel(**dit_settings(net.config))
    twin.load_state_dict(dit_keys(net.state_dict()), assign=True)
    return twin.eval()


def dit_call(
    twin: Any,
    config: DiTConfig,
    x: Tensor,
    t: Tensor,
    cross: Tensor,
    global_cond: Tensor | None,
    angles: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The prediction of `dit_twin` with the arguments of `DiT`; `angles` are those of `dit_angles`."""
    if global_cond is None:
        global_cond = x.new_zeros(len(x), config.global_cond_dim)
    angles = angles or dit_angles(config, x.shape[-1], x.device)
    return twin(x, t, cross, global_cond[:, None], angles, return_dict=False)[0]


def dit_angles(config: DiTConfig, length: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Rotary cosines and sines for the time and `length` latents, as diffusers' own pipeline makes them once."""
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    width = max(config.head_dim // 2, 32)
    cos, sin = get_1d_rotary_pos_embed(width, length + 1, use_real=True, repeat_interleave_real=False)
    return cos.to(device), sin.to(device)


def oobleck_keys(ours: dict[str, Tensor], config: OobleckConfig) -> dict[str, Tensor]:
    """The state dict of an `Oobleck` under the names of `AutoencoderOobleck`."""
    blocks = len(config.strides)
    theirs = {}
    for name, value in ours.items():
        side, _, place, *inner, leaf = name.split(".")
        index = int(place)
        if not inner:
            words = [{0: "conv1", blocks + 1: "snake1", blocks + 2: "conv2"}[index]]
        else:
            numbers = [int(word) for word in inner if word != "layers"]
            words = ["block", str(index - 1), _UNITS[side][numbers[0]], *(_UNIT[number] for number in numbers[1:])]
        theirs[".".join((side, *words, leaf))] = value[None, :, None] if leaf in ("alpha", "beta") else value
    return theirs


def oobleck_settings(config: OobleckConfig) -> dict[str, Any]:
    """The arguments of `AutoencoderOobleck`, whose encoder has to be twice as wide as the latent."""
    if config.channels != 2 * config.latent_dim or config.final_tanh:
        raise ValueError(f"diffusers has no Oobleck like {config}")
    return {
        "encoder_hidden_size": config.channels,
        "downsampling_ratios": list(config.strides),
        "channel_multiples": list(config.multiples),
        "decoder_channels": config.channels,
        "decoder_input_channels": config.latent_dim,
        "audio_channels": config.audio_channels,
    }


def oobleck_twin(net: Oobleck) -> Any:
    """An `AutoencoderOobleck` in evaluation mode with net's weights."""
    from diffusers import AutoencoderOobleck

    twin = AutoencoderOobleck(**oobleck_settings(net.config))
    twin.load_state_dict(oobleck_keys(net.state_dict(), net.config))
    return twin.eval()
