"""Which documents answer a question? Those that share its rare words, by BM25."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ("Retriever",)

_SATURATION = 1.2
_LENGTH_WEIGHT = 0.75
_WORD = re.compile(r"[a-z0-9]+")


class Retriever:
    """A handful of documents, by the words in them (Robertson and Zaragoza, "The Probabilistic Relevance Framework").

    Args:
        documents: name → text.

    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._documents = dict(documents)
        self._words = {name: Counter(_words(f"{name} {text}")) for name, text in documents.items()}
        self._mean_length = sum(words.total() for words in self._words.values()) / max(len(self._words), 1)
        self._holders = Counter(word for words in self._words.values() for word in words)

    def search(self, question: str, limit: int = 2) -> Sequence[tuple[str, str]]:
        """The names and texts of the documents that fit best, the best first; none that shares no word."""
        scores = {name: self._score(name, set(_words(question))) for name in self._documents}
        best = sorted((name for name in scores if scores[name] > 0), key=lambda name: (-scores[name], name))
        return [(name, self._documents[name]) for name in best[:limit]]

    def _score(self, name: str, asked: set[str]) -> float:
        words = self._words[name]
        length = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * words.total() / self._mean_length)
        return sum(self._rarity(word) * words[word] * (_SATURATION + 1) / (words[word] + length) for word in asked)

    def _rarity(self, word: str) -> float:
        holders = self._holders[word]
        return math.log(1 + (len(self._documents) - holders + 0.5) / (holders + 0.5))


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in _WORD.findall(text.lower())]
