"""Text for a model that knows few words: hashed pieces of words, summed with learned weights.

No vocabulary file and nothing to download. A word is looked up whole and as its pieces of three to five letters,
so that "barks" and "barking" meet in "bark" (the idea of fastText, Bojanowski et al. 2017).
"""

import re
import zlib
from collections.abc import Sequence

import torch
from torch import nn

BUCKETS = 8192


def split_words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"[a-z0-9]+", text.lower())


def word_parts(word: str) -> set[str]:
    """A word between marks, and its pieces of three to five letters."""
    marked = f"<{word}>"
    return {marked} | {marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)}


def pieces(text: str) -> list[int]:
    """Bucket numbers of the words of `text` and of their pieces; an empty text has none."""
    words = split_words(text)
    return [bucket for word in words for bucket in sorted(zlib.crc32(p.encode()) % BUCKETS for p in word_parts(word))]


class HashedWords(nn.Module):
    """Texts to vectors [B, out]; an empty text gives the learned empty vector."""

    def __init__(self, out: int, dim: int = 96) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(BUCKETS, dim, mode="sum")
        self.weight = nn.Embedding(BUCKETS, 1)  # how much a piece has to say: "a" and "the" learn to be silent
        self.project = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, out), nn.SiLU(), nn.Linear(out, out))
        self.empty = nn.Parameter(torch.zeros(out))
        nn.init.normal_(self.table.weight, std=0.3)
        nn.init.zeros_(self.weight.weight)

    def forward(self, texts: Sequence[str | None]) -> torch.Tensor:
        rows: list[torch.Tensor] = []
        device = self.empty.device
        for text in texts:
            found = pieces(text or "")
            if not found:
                rows.append(self.empty)
                continue
            index = torch.tensor(found, device=device)
            share = torch.softmax(self.weight(index)[:, 0], dim=0)
            summed = self.table(index[None], per_sample_weights=share[None])[0]
            rows.append(self.project(summed))
        return torch.stack(rows)
