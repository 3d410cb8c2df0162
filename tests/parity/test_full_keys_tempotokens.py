"""The full-size networks have exactly the keys and shapes of TempoTokens' published files (on the meta device)."""

from __future__ import annotations

import torch

from synchresis.encoders import clip_prompt
from synchresis.systems import tempotokens

from .test_full_keys import published, shapes


def full() -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        return tempotokens.build(tempotokens.SIZES["full"])


def empty(keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


def test_all_networks() -> None:
    networks = full()
    assert shapes(networks["unet"]) == published("tempotokens/full_keys_unet3d.json")
    assert shapes(networks["mapper"]) == published("tempotokens/full_keys_mapper.json")
    assert shapes(networks["beats"]) == published("tempotokens/full_keys_beats.json")
    assert sum(p.numel() for p in networks["unet"].parameters()) == 1_411_233_860
    assert sum(p.numel() for p in networks["mapper"].parameters()) == 33_106_435


def test_the_words() -> None:
    keys = empty(published("tempotokens/full_keys_text_encoder.json"))
    tower = full()["text"].tower
    named = clip_prompt.tower_keys(keys, tower)
    assert shapes(tower) == {name: list(value.shape) for name, value in named.items()}


def test_the_vocabulary_grows_by_the_placeholders() -> None:
    small = {"text_model.embeddings.token_embedding.weight": torch.ones(49_408, 2)}
    grown = clip_prompt.grown(small, 49_414)["text_model.embeddings.token_embedding.weight"]
    assert grown.shape == (49_414, 2)
    assert not grown[49_408:].any()
