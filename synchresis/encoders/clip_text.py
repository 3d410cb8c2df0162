"""CLIP's ear for words: one embedding per sentence, with the tokenizer inside the network (VTA-LDM spec 7.2, +text)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synchresis.errors import BadInputError

LIMIT = 77  # tokens of a sentence, with those that begin and end it
BEGIN, END = "<|startoftext|>", "<|endoftext|>"

# The text tower of openai/clip-vit-large-patch14.
VIT_L_14: dict[str, Any] = {
    "vocab_size": 49_408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": LIMIT,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49_406,
    "eos_token_id": 49_407,
    "pad_token_id": 49_407,
}


def plain_tokenizer() -> str:
    """A tokenizer.json of CLIP's kind that knows single bytes alone, for networks that were never trained."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), BEGIN, END]
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": [], "unk_token": None,
                "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            },
        }
    )  # fmt: skip


PLAIN_VOCABULARY = 514
SMALL: dict[str, Any] = VIT_L_14 | {
    "vocab_size": PLAIN_VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 64,
    "bos_token_id": PLAIN_VOCABULARY - 2,
    "eos_token_id": PLAIN_VOCABULARY - 1,
    "pad_token_id": PLAIN_VOCABULARY - 1,
}


class ClipText(nn.Module):
    """`config` is `{"network": sizes as in VIT_L_14, "tokenizer_bytes": n}`.

    The tokenizer.json is a buffer of bytes among the weights, so that a saved system needs no other file.
    """

    tokenizer_json: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.tower = CLIPTextModelWithProjection(CLIPTextConfig(**config["network"]))
        self.end = int(config["network"]["eos_token_id"])
        plain = as_bytes(plain_tokenizer())
        size = config["tokenizer_bytes"]
        self.register_buffer("tokenizer_json", plain if len(plain) == size else torch.zeros(size, dtype=torch.uint8))

    @cached_property
    def tokenizer(self) -> Any:
        """Raises BadInputError where the bytes are no tokenizer with CLIP's two marks."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(bytes(self.tokenizer_json.cpu().numpy()).decode("utf-8"))
        except Exception as error:  # the library raises plain exceptions of its own
            raise BadInputError(f"the tokenizer of the text network cannot be read: {error}") from error
        if tokenizer.token_to_id(BEGIN) is None or tokenizer.token_to_id(END) != self.end:
            raise BadInputError(f"the tokenizer of the text network is not CLIP's: it should end texts with {self.end}")
        return tokenizer

    def tokens(self, sentence: str) -> Tensor:
        """[1, n <= 77] ids, with the marks of beginning and end; a longer sentence is cut before the end mark."""
        inside = self.tokenizer.encode(sentence, add_special_tokens=False).ids[: LIMIT - 2]
        return torch.tensor([[self.tokenizer.token_to_id(BEGIN), *inside, self.end]])

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Projected embeddings [n, projection_dim], not of unit length. Each sentence by itself: no padding."""
        device = self.tower.text_projection.weight.device
        return torch.cat([self.tower(input_ids=self.tokens(s).to(device)).text_embeds for s in sentences])


def as_bytes(tokenizer: str) -> Tensor:
    """A tokenizer.json as the buffer that a `ClipText` keeps."""
    return torch.frombuffer(bytearray(tokenizer.encode("utf-8")), dtype=torch.uint8).clone()


def untrained(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a text network of these sizes with the plain tokenizer."""
    marks = {"bos_token_id": PLAIN_VOCABULARY - 2, "eos_token_id": PLAIN_VOCABULARY - 1}
    network = dict(sizes) | marks | {"pad_token_id": marks["eos_token_id"]}
    return {"network": network, "tokenizer_bytes": len(as_bytes(plain_tokenizer()))}


def read_tokenizer(place: Path) -> Tensor:
    """The bytes of a tokenizer.json, given by itself or by its folder. Raises BadInputError where there is none."""
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.is_file():
        raise BadInputError(f"{place} has no tokenizer.json: give openai/clip-vit-large-patch14")
    return as_bytes(file.read_text(encoding="utf-8"))
