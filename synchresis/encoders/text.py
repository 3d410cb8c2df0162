"""Words to a context: the encoder of T5 or mT5, with the tokenizer that its weights know.

The tokenizer's JSON lies in the module as bytes, so that it travels and is hashed with the weights. It comes from a
folder with `tokenizer.json` (FLAN-T5) or `spiece.model` (mT5), the latter read here without sentencepiece. A module
without one, which only an untrained system has, reads bytes as ByT5 does.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synchresis.errors import BadInputError

MAX_TOKENS = 200

# google/mt5-large, as far as it describes its encoder.
MT5_LARGE: dict[str, Any] = {
    "vocab_size": 250112,
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 24,
    "num_heads": 16,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0,
    "eos_token_id": 1,
}
SMALL = MT5_LARGE | {"vocab_size": 259, "d_model": 48, "d_kv": 12, "d_ff": 64, "num_layers": 2, "num_heads": 4}


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Ours from a config.json of T5, mT5 or FLAN-T5. Raises ValueError for a model that is none of them."""
    if config.get("model_type") not in ("t5", "mt5"):
        raise ValueError(f"model_type is {config.get('model_type')!r}; known are t5 and mt5")
    defaults = MT5_LARGE | {"feed_forward_proj": "relu"}
    return {name: config.get(name, default) for name, default in defaults.items()}


class TextEncoder(nn.Module):
    """`config`: as `text_config` gives it, and `tokenizer_bytes`, the length of the tokenizer's JSON (0: none)."""

    tokenizer: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import T5Config, T5EncoderModel

        sizes = {name: value for name, value in config.items() if name != "tokenizer_bytes"}
        self.t5 = T5EncoderModel(T5Config(**sizes, dropout_rate=0.0)).encoder
        self.pad, self.end = config["pad_token_id"], config["eos_token_id"]
        self.register_buffer("tokenizer", torch.zeros(config["tokenizer_bytes"], dtype=torch.uint8))

    @cached_property
    def _reader(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(bytes(self.tokenizer.cpu().numpy()).decode())

    def token_ids(self, text: str) -> list[int]:
        """All of them, the end token last."""
        if len(self.tokenizer):
            ids = self._reader.encode(text, add_special_tokens=False).ids
        else:
            ids = [byte + 3 for byte in text.encode()]  # 0, 1 and 2 are padding, end and unknown
        return [*ids, self.end]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden state [B, S, D] of token ids [B, S], of which those count where the mask is true."""
        return self.t5(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as context [B, S, D], padded to the longest, and the mask [B, S] that is false at padding.

        Of a longer text the first `MAX_TOKENS` - 1 tokens count, and the end token.
        """
        told = [self.token_ids(text) for text in texts]
        tokens = [torch.tensor([*ids[:-1][: MAX_TOKENS - 1], self.end]) for ids in told]
        ids = nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=self.pad)
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(t)] for t in tokens])
        device = self.tokenizer.device
        return self(ids.to(device), mask.to(device)), mask.to(device)


# Published files ------------------------------------------------------------------------------------

IGNORED = {
    r"shared\.weight": "the text encoder's embedding a second time",
    r"(decoder\.|lm_head\.).*": "the text model's decoder",
}


def encoder_keys(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Those of a T5EncoderModel under our names; of its embedding, which it has under two names, one is enough.

    The second keeps its name, to be ignored (see `IGNORED`). Raises BadInputError where the two differ.
    """
    rest = {name: value for name, value in tensors.items() if not name.startswith(("encoder.", "shared."))}
    inside = {name: value for name, value in tensors.items() if name.startswith("encoder.")}
    named = rest | {f"t5.{name.removeprefix('encoder.')}": value for name, value in inside.items()}
    shared = tensors.get("shared.weight")
    if shared is None:
        return named
    own = named.setdefault("t5.embed_tokens.weight", shared)
    if own is shared:
        return named
    if own.shape != shared.shape or not torch.equal(own, shared):
        raise BadInputError(f"{source}: shared.weight and encoder.embed_tokens.weight of its text encoder differ")
    return named | {"shared.weight": shared}


def read_tokenizer(folder: Path) -> Tensor:
    """The JSON of the tokenizer in a folder, as bytes uint8 [n]. Raises BadInputError where there is none."""
    fast, slow = folder / "tokenizer.json", folder / "spiece.model"
    if fast.is_file():
        content = fast.read_bytes()
    elif slow.is_file():
        content = _from_sentencepiece(slow).encode()
    else:
        raise BadInputError(f"{folder} has no tokenizer: neither tokenizer.json nor spiece.model")
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_str(content.decode())
    except Exception as error:  # the tokenizers package raises plain Exception
        raise BadInputError(f"{folder}: its tokenizer cannot be read: {error}") from error
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _from_sentencepiece(path: Path) -> str:
    """The JSON of the same tokenizer for a unigram model of sentencepiece, as T5's are."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces, charsmap, kind = [], b"", 1
    try:
        for field, value in _protobuf(path.read_bytes()):
            if field == 1:
                piece = dict(_protobuf(value))
                pieces.append((piece[1].decode(), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0]))
                if piece.get(3, 1) == 2:
                    unknown = len(pieces) - 1
            elif field == 2:
                kind = dict(_protobuf(value)).get(3, 1)
            elif field == 3:
                charsmap = dict(_protobuf(value)).get(2, b"")
        if kind != 1:
            raise ValueError("it is no unigram model")
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown))
    except (ValueError, KeyError, IndexError, UnboundLocalError, struct.error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not a sentencepiece model that can be read: {error}") from error
    steps = [normalizers.Precompiled(charsmap)] if charsmap else []
    squeezed = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence([*steps, *squeezed])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer.to_str()


def _protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a protobuf message: whole numbers as int, all others as their bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        field, wire = divmod(varint(), 8)
        if wire == 0:
            yield field, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire}")
        size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if at + size > len(data):
            raise ValueError("it ends early")
        yield field, data[at : at + size]
        at += size


def described(folder: Path) -> dict[str, Any]:
    """The sizes in a folder's config.json. Raises BadInputError for one that describes no T5."""
    try:
        return text_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{folder / 'config.json'} does not describe a T5 or mT5: {error}") from error
