"""Text-to-video bases, which a system that pictures sounds drives: what a base must answer, and the first one.

`TextToVideoBase` is all that TempoTokens and its training ask of a base. `Zeroscope` is the family of ModelScope's
text-to-video (ms-1.7b, zeroscope_v2_576w): Stable Diffusion 2's text tower and autoencoder, a UNet with convolutions
and attention in time, epsilon or v. Sources: TempoTokens spec 1, 5, 7, 12. docs/tempotokens.md says what a modern base
would need.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.encoders import clip_prompt
from synchresis.encoders.clip_text import as_bytes
from synchresis.errors import BadInputError
from synchresis.systems.latent_unet import Schedule
from synchresis.systems.weights import KeyReport, fill, read_tensors, skeleton

PARTS = ("unet", "text", "vae")  # the components of this base


class TextToVideoBase(Protocol):
    """A frozen model that turns noise into the latents of a film, told something about each frame.

    Latents are [B, C, F, h, w], states [B * F, L, D] with the frames of an item side by side.
    """

    @property
    def channels(self) -> int:
        """C of the latents."""
        ...

    @property
    def fold(self) -> int:
        """Pixels of a latent cell, in both directions."""
        ...

    @property
    def width(self) -> int:
        """Of the vectors that can stand for words."""
        ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def placeholders(self) -> Sequence[str]:
        """The words that vectors can stand for."""
        ...

    def told(self, prompt: str, vectors: Mapping[str, Tensor]) -> Tensor:
        """States [F, L, D] of a prompt in which the words named in `vectors` are theirs [F, D]; one row without any."""
        ...

    def predict(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """What the network predicts of latents at timesteps t [B]: the shape of x."""
        ...

    def encode(self, pictures: Iterable[np.ndarray], batch: int) -> Tensor:
        """The latents [1, C, F, h, w] of pictures uint8 [H, W, 3]."""
        ...

    def decode(self, latents: Tensor, batch: int) -> Iterator[np.ndarray]:
        """The pictures uint8 [H, W, 3] of latents [1, C, F, h, w], one after another."""
        ...


# What is published ----------------------------------------------------------------------------------

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
    "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": 64,
    "norm_num_groups": 32,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
FULL: dict[str, Any] = {
    "unet": UNET,
    "text": clip_prompt.untrained(clip_prompt.SD_2),
    "vae": VAE,
    "scheduler": SCHEDULER,
}
_FEW = {"vocab_size": 514, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL: dict[str, Any] = {
    "unet": UNET
    | {
        "sample_size": 8,
        "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
        "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
        "block_out_channels": [32, 32],
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    },
    "text": clip_prompt.untrained(clip_prompt.SD_2 | _FEW),
    "vae": VAE | {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
    "scheduler": SCHEDULER,
}


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """"unet", "text" and "vae" by name. Raises KeyError, TypeError or ValueError for what describes none."""
    from diffusers import AutoencoderKL, UNet3DConditionModel

    Schedule.from_dict(config["scheduler"])
    if config["unet"]["cross_attention_dim"] != config["text"]["network"]["hidden_size"]:
        raise ValueError("the UNet attends to states of another width than the text network's")
    return {
        "unet": UNet3DConditionModel(**config["unet"]),
        "text": clip_prompt.ClipPrompt(config["text"]),
        "vae": AutoencoderKL(**config["vae"]),
    }


# Published files ------------------------------------------------------------------------------------

_IGNORED = {r"(text_model\.)?embeddings\.position_ids": "a list of numbers 0, 1, 2 … that is not learned"}
# Names of the autoencoder's attention before diffusers 0.17.
_OLD = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, nn.Module], list[KeyReport]]:
    """A diffusers folder with unet, text_encoder, tokenizer, vae and scheduler: configuration, networks, reports.

    Raises BadInputError naming what is missing or does not fit.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder} is no folder of a text-to-video base, such as cerspense/zeroscope_v2_576w")
    tokenizer, padding = clip_prompt.read_tokenizer(folder / "tokenizer")
    bytes_ = as_bytes(tokenizer)
    places = {"unet": "unet", "text": "text_encoder", "vae": "vae"}
    files = {part: _weights(folder / place) for part, place in places.items()}
    words = _json(folder / "text_encoder" / "config.json")
    network = {name: words.get(name, value) for name, value in clip_prompt.SD_2.items()}
    network["vocab_size"] = max(network["vocab_size"], _vocabulary(tokenizer))
    config: dict[str, Any] = {
        "unet": _known("UNet3DConditionModel", _json(folder / "unet" / "config.json")),
        "text": {"network": network, "tokenizer_bytes": len(bytes_), "padding": padding},
        "vae": _known("AutoencoderKL", _json(folder / "vae" / "config.json")),
        "scheduler": _without_marks(_json(folder / "scheduler" / "scheduler_config.json")),
    }
    try:
        with skeleton():
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{folder} does not describe a base of zeroscope's kind: {error!r}") from error
    text: Any = networks["text"]
    tensors = clip_prompt.grown(read_tensors(files["text"]), network["vocab_size"])
    named = {f"tower.{n}": v for n, v in clip_prompt.tower_keys(tensors, text.tower).items()}
    ignored = {rf"tower\.{pattern}": reason for pattern, reason in _IGNORED.items()}
    vae = {_renamed(name): value for name, value in read_tensors(files["vae"]).items()}
    reports = [
        fill(networks["unet"], read_tensors(files["unet"]), component="unet", source=files["unet"]),
        fill(text, named | {"tokenizer_json": bytes_}, component="text", source=files["text"], ignored=ignored),
        fill(networks["vae"], _flat(vae), component="vae", source=files["vae"]),
    ]
    return config, networks, reports


def _weights(folder: Path) -> Path:
    stems = ("diffusion_pytorch_model", "model", "pytorch_model")
    names = [f"{stem}{suffix}" for suffix in (".safetensors", ".bin") for stem in stems]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise BadInputError(f"{folder} has no weights: looked for {', '.join(names)}")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} does not describe the network beside it: {error}") from error


def _without_marks(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if not name.startswith("_")}


def _known(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the class of diffusers takes; the rest of a configuration is of other versions."""
    import diffusers

    taken = inspect.signature(getattr(diffusers, kind).__init__).parameters
    return {name: value for name, value in _without_marks(content).items() if name in taken}


def _vocabulary(tokenizer: str) -> int:
    from tokenizers import Tokenizer

    return max(Tokenizer.from_str(tokenizer).get_vocab(with_added_tokens=True).values()) + 1


def _renamed(name: str) -> str:
    for old, new in _OLD:
        name = name.replace(old, new)
    return name


def _flat(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder's attention as matrices; some files have it as 1x1 convolutions."""
    return {
        name: value[..., 0, 0] if ".attentions." in name and value.ndim == 4 else value
        for name, value in tensors.items()
    }


# The base -------------------------------------------------------------------------------------------


class PerFrame:
    """Cross-attention that is told something about every frame.

    diffusers' UNet repeats one context for all frames; this stands in place of its attention and looks at `states`
    [B * F, L, D] instead. What the UNet passes is not read.
    """

    def __init__(self) -> None:
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.stock = AttnProcessor2_0()
        self.states: Tensor | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        return self.stock(attn, hidden_states, self.states, attention_mask, temb)


class Zeroscope:
    """The base over its three networks (see `build`)."""

    placeholders = clip_prompt.PLACEHOLDERS
    unet: Any
    text: Any
    vae: Any

    def __init__(self, config: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> None:
        self.unet, self.text, self.vae = (networks[part] for part in PARTS)
        self.schedule = Schedule.from_dict(config["scheduler"])
        self.channels: int = config["unet"]["in_channels"]
        self.fold: int = 2 ** (len(config["vae"]["block_out_channels"]) - 1)
        self.width: int = config["text"]["network"]["hidden_size"]
        self.scale: float = config["vae"].get("scaling_factor", VAE["scaling_factor"])
        self._per_frame = PerFrame()
        self.unet.set_attn_processor(
            {
                name: self._per_frame if ".attentions." in name and ".attn2." in name else processor
                for name, processor in self.unet.attn_processors.items()
            }
        )

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def told(self, prompt: str, vectors: Mapping[str, Tensor]) -> Tensor:
        ids = self.text.placeholders
        return self.text(self.text.ids(prompt), {ids[word]: vector for word, vector in vectors.items()})

    def predict(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """Raises ValueError where there is not a row of states for every frame."""
        if len(states) != x.shape[0] * x.shape[2]:
            raise ValueError(f"{len(states)} rows of states for {x.shape[0]} x {x.shape[2]} frames")
        self._per_frame.states = states
        try:
            unread = states[:: x.shape[2], :1]
            return self.unet(x, t, unread, return_dict=False)[0]
        finally:
            self._per_frame.states = None

    @torch.no_grad()
    def encode(self, pictures: Iterable[np.ndarray], batch: int) -> Tensor:
        """Means of the posterior, scaled."""
        parts = []
        for group in _groups(pictures, batch):
            values = torch.from_numpy(np.stack(group)).to(self.device).permute(0, 3, 1, 2) / 127.5 - 1.0
            parts.append(self.vae.encode(values).latent_dist.mean * self.scale)
        return torch.cat(parts).transpose(0, 1)[None]

    @torch.no_grad()
    def decode(self, latents: Tensor, batch: int) -> Iterator[np.ndarray]:
        for part in latents[0].transpose(0, 1).split(batch):
            pictures = self.vae.decode(part / self.scale).sample
            whole = ((pictures.float().clamp(-1, 1) + 1) * 127.5).to(torch.uint8)
            yield from whole.permute(0, 2, 3, 1).cpu().numpy()


def _groups(pictures: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    for picture in pictures:
        group.append(picture)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
