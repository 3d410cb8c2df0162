"""AudioLDM's files as its authors lay them out, made of codecs of ours."""

import torch

from synchresis.codecs.audioldm import MelCodec


def original_of(codec: MelCodec) -> dict[str, torch.Tensor]:
    """A file of the original's layout that means this codec: the map walked backwards, name by name."""
    names = {}
    for kind, count in (("encoder", 3), ("decoder", 3)):
        side = new = "down" if kind == "encoder" else "up"
        for i in range(count):
            at = i if kind == "encoder" else count - 1 - i
            for j in range(3):
                names[f"{kind}.{new}_blocks.{i}.resnets.{j}."] = f"{kind}.{side}.{at}.block.{j}."
            names[f"{kind}.{new}_blocks.{i}.{new}samplers.0."] = f"{kind}.{side}.{at}.{new}sample."
        for j in range(2):
            names[f"{kind}.mid_block.resnets.{j}."] = f"{kind}.mid.block_{j + 1}."
        for new_part, part in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
                               ("to_out.0", "proj_out")):
            names[f"{kind}.mid_block.attentions.0.{new_part}."] = f"{kind}.mid.attn_1.{part}."
    names |= {"conv_shortcut.": "nin_shortcut.", "conv_norm_out.": "norm_out.", "upsampler.": "ups."}
    tensors = {}
    for name, value in codec.state_dict().items():
        if name in ("vocoder.mean", "vocoder.scale"):
            continue
        if name == "scale_factor":
            tensors[name] = value.clone()
            continue
        old = name.removeprefix("vae.")
        for new, was in names.items():
            old = old.replace(new, was)
        if "attn_1" in old and value.ndim == 2:
            value = value[..., None, None]
        tensors[f"first_stage_model.{old}"] = value
    return tensors
