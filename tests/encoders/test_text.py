"""Words: tokenizers read from both kinds of files, padding that changes nothing, embeddings that must agree."""

import struct
from pathlib import Path

import pytest
import torch

from synchresis.encoders import text
from synchresis.encoders.text import SMALL, TextEncoder
from synchresis.errors import BadInputError
from synchresis.systems.weights import fill, randomise

PIECES = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁", -4.0, 1), ("▁dog", -2.0, 1), ("s", -3.0, 1),
          ("▁bark", -2.5, 1), ("▁do", -2.2, 1), ("g", -2.9, 1), ("é", -6.0, 1)]  # fmt: skip


def field(number: int, wire: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number * 8 + wire, content])
    size = b"" if wire == 5 else bytes([len(content)])
    return bytes([number * 8 + wire]) + size + content


def sentencepiece(folder: Path, kind: int = 1) -> Path:
    """A model file as sentencepiece writes it: pieces, trainer, normalizer."""
    data = b""
    for piece, score, type_ in PIECES:
        told = field(1, 2, piece.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, type_)
        data += field(1, 2, told)
    data += field(2, 2, field(3, 0, kind)) + field(3, 2, field(1, 2, b"nmt_nfkc"))
    (folder / "spiece.model").write_bytes(data)
    return folder


def encoder_of(folder: Path) -> TextEncoder:
    tokenizer = text.read_tokenizer(folder)
    made = TextEncoder(SMALL | {"tokenizer_bytes": len(tokenizer)}).eval()
    made.tokenizer.copy_(tokenizer)
    return made


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("dogs bark", [4, 5, 6, 1]),
        ("  dogs   bark ", [4, 5, 6, 1]),
        ("dog", [4, 1]),
        ("", [1]),
        ("bark q", [6, 3, 2, 1]),
    ],
)
def test_a_sentencepiece_model_is_read(words: str, ids: list[int], tmp_path: Path) -> None:
    """The likeliest pieces by hand: dog (-2) and s (-3) before do (-2.2), g (-2.9) and s."""
    assert encoder_of(sentencepiece(tmp_path)).token_ids(words) == ids


def test_a_tokenizer_json_goes_first_and_means_the_same(tmp_path: Path) -> None:
    content = bytes(text.read_tokenizer(sentencepiece(tmp_path)).numpy())
    (tmp_path / "tokenizer.json").write_bytes(content)
    (tmp_path / "spiece.model").write_bytes(b"nothing")
    assert encoder_of(tmp_path).token_ids("dogs bark") == [4, 5, 6, 1]


def test_long_texts_are_cut_and_end() -> None:
    made = TextEncoder(SMALL | {"tokenizer_bytes": 0})
    assert len(made.token_ids("a" * 500)) == 501
    long, mask = made.encode(["a" * 500])
    assert mask.shape == (1, text.MAX_TOKENS)
    assert torch.equal(long, made.encode(["a" * (text.MAX_TOKENS - 1)])[0])
    assert made.token_ids("aé") == [100, 198, 172, 1]


@pytest.mark.parametrize("content", [b"", b"\x0a\xff", b"\xff" * 12, b"hello world"])
def test_damaged_models_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(BadInputError, match=r"spiece\.model"):
        text.read_tokenizer(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="neither"):
        text.read_tokenizer(tmp_path)
    with pytest.raises(BadInputError, match="no unigram"):
        text.read_tokenizer(sentencepiece(tmp_path, kind=2))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInputError, match="cannot be read"):
        text.read_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BadInputError, match="model_type is 'bert'"):
        text.described(tmp_path)


@torch.no_grad()
def test_a_batch_gives_what_each_gives_alone() -> None:
    made = TextEncoder(SMALL | {"tokenizer_bytes": 0}).eval()
    randomise(made)
    texts = ["", "rain", "a dog barks at the door"]
    together, mask = made.encode(texts)
    assert mask.sum(1).tolist() == [1, 5, 24]
    for i, words in enumerate(texts):
        alone, _ = made.encode([words])
        assert torch.allclose(together[i, mask[i]], alone[0], atol=1e-5)


def test_published_embeddings_are_one() -> None:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    theirs = T5EncoderModel(T5Config(**SMALL)).eval()
    tensors = {name: value.clone() for name, value in theirs.state_dict().items()}
    tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].clone()
    made = TextEncoder(SMALL | {"tokenizer_bytes": 0}).eval()

    def read(some: dict[str, torch.Tensor]) -> None:
        named = text.encoder_keys(some, Path("a.bin")) | {"tokenizer": torch.zeros(0, dtype=torch.uint8)}
        fill(made, named, component="text", source=Path("a.bin"), ignored=text.IGNORED)

    read(tensors)
    ids = torch.tensor([[5, 9, 1]])
    with torch.no_grad():
        assert torch.allclose(made(ids, ids > 0), theirs(input_ids=ids).last_hidden_state, atol=1e-6)
    read({name: value for name, value in tensors.items() if name != "encoder.embed_tokens.weight"})
    read(tensors | {"decoder.block.0.x": torch.zeros(1), "lm_head.weight": torch.zeros(1)})
    with pytest.raises(BadInputError, match="differ"):
        read(tensors | {"shared.weight": tensors["shared.weight"] + 1})
