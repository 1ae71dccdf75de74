"""What may be kept of an error that travels? It is met at each run around the one that it came from, and masked there
by what only that run knows; by the next attempt it is named again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from langchain_tokens.errors import TokensError
from langchain_tokens.masking import error_text

__all__ = ("Failures",)

_KEPT = 256
_DEEPEST = 8


class Failures:
    """The newest errors of this process that quoted something: a digest of what each said, and what may be kept of it.

    Thread-safe without a lock, which a fork could leave locked in the child.
    """

    def __init__(self) -> None:
        self._masked: dict[bytes, str] = {}
        self._newest: deque[bytes] = deque()

    def text(self, error: BaseException, said: Iterable[Any]) -> str:
        """The error's text without what it quotes.

        Args:
            error: what ended a call or run; our own errors quote nothing.
            said: what was sent and answered there.

        """
        plain = error_text(error)
        if isinstance(error, TokensError):
            return plain
        before = self.known(plain)
        text = error_text(error if before == plain else before, said)
        for cause in _causes(error):
            text = self._without(cause, text, said)
        if text != plain:
            self._keep(_digest(plain), text)
        return text

    def known(self, text: str) -> str:
        """A text of `error_text`, without what an error that said the same was found to quote."""
        return self._masked.get(_digest(text), text)

    def _without(self, cause: BaseException, text: str, said: Iterable[Any]) -> str:
        """A text that quotes the error which caused it, without what that one quoted."""
        quoted = error_text(cause)
        known = self.known(quoted)
        return text if known == quoted else text.replace(error_text(cause, said), error_text(known, said))

    def _keep(self, digest: bytes, text: str) -> None:
        if digest not in self._masked:
            self._newest.append(digest)
        self._masked[digest] = text
        while len(self._newest) > _KEPT:
            self._masked.pop(self._newest.popleft(), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The errors that led to this one, nearest first."""
    for _ in range(_DEEPEST):
        cause = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
        if cause is None:  # as always where somebody hands over what is no exception
            return
        yield cause
        error = cause


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
