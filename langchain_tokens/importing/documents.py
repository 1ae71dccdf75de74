"""What entries has a JSON document? Read one after the other, so that it may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, TextIO

__all__ = ("LONGEST_ENTRY", "entries", "loads", "make_decoder")

LONGEST_ENTRY: Final = 16 * 2**20
"""Characters, or bytes of a line. No call says as much; what is longer would fill the memory."""
_CHUNK: Final = 2**20
_SPACE: Final = " \t\n\r"
_LISTS: Final = frozenset(
    {"calls", "runs", "data", "results", "responses", "observations", "logs", "rows", "items", "documents"}
)
"""Keys of a document whose list holds the entries."""


def make_decoder(*, exact: bool) -> json.JSONDecoder:
    """A decoder; an exact one makes numbers with a point `Decimal`, as money needs it."""
    return json.JSONDecoder(parse_float=Decimal if exact else float, parse_constant=_refuse)


def loads(line: str, decoder: json.JSONDecoder) -> Any:
    """One value, and nothing behind it.

    Raises:
        ValueError: for anything else.

    """
    try:
        return decoder.decode(line)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def entries(stream: TextIO, *, exact: bool) -> Iterator[tuple[int, Any]]:
    """The entries of a document, with the lines that they begin on.

    They are the items of the list that the document is, or of the lists in it; what it says before a list is said of
    each of its items. A document without a list is an entry itself.

    Raises:
        ValueError: where it is no JSON, or ends early; the text names the line.

    """
    text = _Text(stream, make_decoder(exact=exact))
    if text.peek() == "[":
        yield from _items(text, {})
    else:
        yield from _members(text)
    if text.peek():
        raise ValueError(f"line {text.line}: something follows the end of the document")


def _members(text: _Text) -> Iterator[tuple[int, Any]]:
    said: dict[str, Any] = {}
    line, has_list = text.line, False
    text.take("{")
    while text.peek() != "}":
        name = text.value()
        if not isinstance(name, str):
            raise ValueError(f"line {text.line}: {name!r} is no key")  # noqa: TRY004  # data, not a programmer's mistake
        text.take(":")
        if text.peek() == "[" and name in _LISTS:
            has_list = True
            yield from _items(text, said)
        else:
            said[name] = text.value()
        if text.peek() != "}":
            text.take(",")
    text.take("}")
    if not has_list:
        yield line, said


def _items(text: _Text, said: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    text.take("[")
    while text.peek() != "]":
        line, item = text.line, text.value()
        yield line, {**said, **item} if isinstance(item, dict) else item
        if text.peek() != "]":
            text.take(",")
    text.take("]")


class _Text:
    """A window on a text that is read from its beginning to its end."""

    def __init__(self, stream: TextIO, decoder: json.JSONDecoder) -> None:
        self._stream = stream
        self._decoder = decoder
        self._held = ""
        self._at = 0
        self._is_end = False
        self.line = 1

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._held) and self._held[self._at] in _SPACE:
                self.line += self._held[self._at] == "\n"
                self._at += 1
            if self._at < len(self._held):
                return self._held[self._at]
            if self._is_end:
                return ""
            self._read_on()

    def take(self, char: str) -> None:
        """Go past a character that has to be there."""
        found = self.peek()
        if found != char:
            raise ValueError(
                f"line {self.line}: {f'{found!r} stands' if found else 'the file ends'} where {char!r} should"
            )
        self._at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                self._expect_more(error)
            except RecursionError:
                raise ValueError(f"line {self.line}: is nested too deeply") from None
            else:
                if end < len(self._held) or self._is_end:  # else a number might go on
                    self.line += self._held.count("\n", self._at, end)
                    self._at = end
                    return found
            self._read_on()

    def _expect_more(self, error: json.JSONDecodeError) -> None:
        if self._is_end:
            raise ValueError(f"line {self.line}: the file ends early, or is no JSON ({error.msg})") from None
        if len(self._held) - self._at > LONGEST_ENTRY:
            raise ValueError(
                f"line {self.line}: is no JSON ({error.msg}), or an entry of more than {LONGEST_ENTRY:,} characters"
            ) from None

    def _read_on(self) -> None:
        chunk = self._stream.read(_CHUNK)
        self._is_end = not chunk
        self._held, self._at = self._held[self._at :] + chunk, 0


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
