"""CLIP's reading of a prompt in which some words are vectors: how sound enters a text-to-video model.

TempoTokens (spec section 5): six placeholder words are added to the vocabulary; after the look-up of words, and before
positions, every placeholder is overwritten with a vector of its own for every frame. So each frame is told its prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synchresis.encoders.clip_text import LIMIT, as_bytes, plain_tokenizer
from synchresis.errors import BadInputError

PLACEHOLDERS = ("<temp>", "<local1>", "<local2>", "<local3>", "<local4>", "<class>")

# The text tower of Stable Diffusion 2, which zeroscope and ModelScope have, before its vocabulary grows.
SD_2: dict[str, Any] = {
    "vocab_size": 49_408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "max_position_embeddings": LIMIT,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49_406,
    "eos_token_id": 49_407,
    "pad_token_id": 1,
}


class ClipPrompt(nn.Module):
    """`config` is `{"network": sizes as in SD_2, "tokenizer_bytes": n, "padding": id}`.

    The vocabulary of `network` includes the placeholders. The tokenizer.json is a buffer among the weights.
    """

    tokenizer_json: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        self.tower = CLIPTextModel(CLIPTextConfig(**config["network"]))
        self.length = int(config["network"]["max_position_embeddings"])
        self.padding = int(config["padding"])
        plain = as_bytes(with_placeholders(plain_tokenizer()))
        size = config["tokenizer_bytes"]
        self.register_buffer("tokenizer_json", plain if len(plain) == size else torch.zeros(size, dtype=torch.uint8))

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_str(bytes(self.tokenizer_json.cpu().numpy()).decode("utf-8"))
        except Exception as error:  # the library raises plain exceptions of its own
            raise BadInputError(f"the tokenizer of the text network cannot be read: {error}") from error

    @cached_property
    def placeholders(self) -> dict[str, int]:
        """The ids of the placeholder words in this vocabulary. Raises BadInputError where it lacks one."""
        ids = {word: self.tokenizer.token_to_id(word) for word in PLACEHOLDERS}
        words = self.tower.get_input_embeddings().num_embeddings
        if lost := [word for word, i in ids.items() if i is None or i >= words]:
            raise BadInputError(f"the vocabulary of the text network lacks {', '.join(lost)}")
        return ids

    def ids(self, prompt: str) -> Tensor:
        """[1, L] ids, cut before the end mark or padded.

        Raises BadInputError where a placeholder comes twice or would be cut.
        """
        from synchresis.encoders.clip_text import BEGIN, END

        begin, end = self.tokenizer.token_to_id(BEGIN), self.tokenizer.token_to_id(END)
        inside = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        kept = inside[: self.length - 2]
        for word, i in self.placeholders.items():
            if inside.count(i) > 1:
                raise BadInputError(f"the prompt has {word} {inside.count(i)} times: once is enough")
            if i in inside[len(kept) :]:
                raise BadInputError(f"the prompt is too long: {word} lies behind its {self.length} words")
        ids = [begin, *kept, end]
        return torch.tensor([ids + [self.padding] * (self.length - len(ids))])

    def forward(self, ids: Tensor, vectors: Mapping[int, Tensor] | None = None) -> Tensor:
        """States [F, L, D] after the last norm, of ids [1, L] and vectors [F, D] by the id that they replace.

        Without vectors F is 1. An id that the prompt does not have is skipped.
        """
        vectors = vectors or {}
        frames = max((len(v) for v in vectors.values()), default=1)

        def overwritten(module: nn.Module, args: Any, words: Tensor) -> Tensor:
            for i, vector in vectors.items():
                here = (ids[0] == i).to(words.device)[None, :, None]
                words = torch.where(here, vector[:, None].to(words), words)
            return words

        handle = self.tower.get_input_embeddings().register_forward_hook(overwritten)
        try:
            rows = ids.to(self.tower.device).expand(frames, -1)
            return self.tower(input_ids=rows).last_hidden_state
        finally:
            handle.remove()


def with_placeholders(tokenizer_json: str) -> str:
    """A tokenizer.json with the placeholder words added behind its vocabulary, where it lacks them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.add_tokens([word for word in PLACEHOLDERS if tokenizer.token_to_id(word) is None])
    return tokenizer.to_str()


def untrained(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a text network of these sizes with the plain tokenizer; the vocabulary is its own."""
    from synchresis.encoders.clip_text import PLAIN_VOCABULARY

    marks = {"bos_token_id": PLAIN_VOCABULARY - 2, "eos_token_id": PLAIN_VOCABULARY - 1, "pad_token_id": 0}
    least = PLAIN_VOCABULARY + len(PLACEHOLDERS)
    network = dict(sizes) | marks | {"vocab_size": max(least, sizes["vocab_size"] + len(PLACEHOLDERS))}
    return {"network": network, "tokenizer_bytes": len(as_bytes(with_placeholders(plain_tokenizer()))), "padding": 0}


def read_tokenizer(folder: Path) -> tuple[str, int]:
    """The tokenizer.json of a diffusers `tokenizer` folder, which may hold vocab.json and merges.txt instead, and the
    id that it pads with. Raises BadInputError where there is none.
    """
    from transformers import CLIPTokenizer

    if not folder.is_dir():
        raise BadInputError(f"{folder} is not there: a text-to-video base has its tokenizer in it")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        return with_placeholders(tokenizer.backend_tokenizer.to_str()), int(tokenizer.pad_token_id)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInputError(f"{folder} is no tokenizer of CLIP: {str(error).splitlines()[0]}") from error


def tower_keys(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Published names to those of the installed transformers, which in 5 lost the prefix `text_model.`."""
    inner = hasattr(network, "text_model")
    plain = {name.removeprefix("text_model."): value for name, value in tensors.items()}
    return {f"text_model.{name}" if inner else name: value for name, value in plain.items()}


def grown(tensors: Mapping[str, Tensor], words: int) -> dict[str, Tensor]:
    """The embedding with rows for the placeholders, which are never looked at."""
    out = dict(tensors)
    for name, value in tensors.items():
        if name.endswith("token_embedding.weight") and len(value) < words:
            out[name] = torch.cat([value, value.new_zeros(words - len(value), value.shape[1])])
    return out
