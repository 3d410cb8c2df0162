"""The full-size networks have exactly the keys and shapes of VTA-LDM's published files (on the meta device)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from synchresis.codecs import audioldm
from synchresis.encoders import clip_text
from synchresis.systems import vta_ldm
from synchresis.systems.weights import fill

from .test_full_keys import part, published, shapes

EXTRACTOR = "vid_fea_extractor."


def full(text: bool) -> dict[str, torch.nn.Module]:
    config = vta_ldm.SIZES["full"] | ({"text": clip_text.VIT_L_14} if text else {})
    with torch.device("meta"):
        return vta_ldm.build(config)


def empty(keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


def test_the_model() -> None:
    keys = published("vta_ldm/full_keys_audio_diffusion.json.gz")
    networks = full(text=False)
    assert shapes(networks["unet"]) == part(keys, "unet.")
    assert shapes(networks["encoder"]) == part(keys, f"{EXTRACTOR}clip_vision.")
    assert shapes(networks["projection"]) == part(keys, f"{EXTRACTOR}linear_layer.")
    words = part(keys, f"{EXTRACTOR}clip_text.")
    assert len(keys) == sum(len(networks[n].state_dict()) for n in ("unet", "encoder", "projection")) + len(words)


def test_the_words() -> None:
    """Its vocabulary is CLIP's; what our tokenizer lacks of it until a real one is read, it does not use."""
    keys = part(published("vta_ldm/full_keys_audio_diffusion.json.gz"), f"{EXTRACTOR}clip_text.")
    with torch.device("meta"):
        ear = clip_text.ClipText({"network": clip_text.VIT_L_14, "tokenizer_bytes": 1})
    assert part(shapes(ear), "tower.") == keys
    assert vta_ldm._text_sizes(Path("a"), empty(keys)) == clip_text.VIT_L_14


def test_the_eye_is_recognised() -> None:
    keys = part(published("vta_ldm/full_keys_audio_diffusion.json.gz"), f"{EXTRACTOR}clip_vision.")
    assert vta_ldm._vision_sizes(Path("a"), empty(keys)) == vta_ldm.SIZES["full"]["encoder"]["network"]


def test_the_codec() -> None:
    keys: dict[str, Any] = published("vta_ldm/full_keys_vae_and_vocoder.json")
    with torch.device("meta"):
        codec = audioldm.MelCodec(audioldm.FULL)
    named = audioldm.original_codec(empty(keys), torch.ones(()))
    report = fill(codec, named, component="codec", source=Path("pytorch_model.bin"))
    # Besides the file's: the scale, and two statistics of HiFi-GAN's that are constants.
    assert report.read == len(codec.state_dict()) == len(keys) + 3


def test_the_mel_front_end() -> None:
    keys = published("vta_ldm/full_keys_stft.json")
    assert keys["mel_basis"] == list(audioldm.mel_matrix().shape)
