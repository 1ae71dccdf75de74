"""What of an error's text was sent or answered? Quotes are found whatever escaping was put on them, and masked.

Both sides are compared as skeletons: letters and digits alone, folded, as UTF-8, with the escapes of repr, JSON, URLs
and HTML undone. What both share in `_RUN` bytes or more is a quote; so is a shorter text of several words, where it
stands whole. What is shorter, or a single short word, stays: errors are made of such words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from langchain_tokens.walking import Texts

__all__ = ("MASK", "without_quotes")

MASK: Final = "***"
_RUN: Final = 16
"""Letters and digits, of ASCII, that are a quote: three or four words in a row."""
_PROBE: Final = 8
_STRIDE: Final = _RUN - _PROBE + 1
"""Of what was said a probe is taken at each so many bytes: any quote holds one whole."""
_SHORTEST: Final = 6
_CHANCE: Final = 3
_MOST_PHRASES: Final = 1_000
_ESCAPED: Final = (
    r"(?:\\+x[0-9a-fA-F]{2})+|(?:%[0-9a-fA-F]{2})+"
    r"|\\+u[0-9a-fA-F]{4}|\\+U[0-9a-fA-F]{8}|\\+[abfnrtv0]"
    r"|&(?:amp|quot|lt|gt|apos|nbsp|\#[0-9]{1,7}|\#x[0-9a-fA-F]{1,6});"
)
_ESCAPE: Final = re.compile(_ESCAPED)
_SIGN: Final = re.compile(rf"{_ESCAPED}|[^\W_]")
_BETWEEN: Final = re.compile(r"[\W_]+")
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/=_-]{100,}+")
"""Pictures and other files, as text."""


def without_quotes(text: str, said: Iterable[Any], most: int) -> str:
    """An error's text with `***` for what it quotes. Takes time for each character of both, and no more.

    Args:
        text: the error's text, of a bounded length.
        said: what was sent and answered: messages, inputs, results; they are read only. Where it is more than can be
            looked through in a fraction of a second, nothing of the text is kept.
        most: where the text ends; what stands behind that only tells a quote that goes on there.

    """
    texts, skeleton = Texts(), _Skeleton.of(text)
    signs = skeleton.signs
    probes = {signs[at : at + _PROBE] for at in range(len(signs) - _PROBE + 1)}
    runs = {signs[at : at + _RUN] for at in range(len(signs) - _RUN + 1)}
    shared: set[bytes] = set()
    phrases: set[bytes] = set()
    for one in texts.of(said):
        other = _signs(one)
        if len(other) >= _RUN:
            shared.update(_shared(other, probes, runs))
        elif len(other) >= _SHORTEST and len(phrases) < _MOST_PHRASES and _is_phrase(one):
            phrases.add(other)
    if texts.are_too_many:
        return MASK
    marks = bytearray(len(signs))
    _mark_runs(signs, shared, marks)
    _mark_phrases(skeleton, phrases, marks)
    return _ENCODED.sub(MASK, _masked(text[:most], skeleton, marks))


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """An error's letters and digits, and where in the text each of them stands."""

    signs: bytes
    begins: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str) -> _Skeleton:
        signs = bytearray()
        begins: list[int] = []
        ends: list[int] = []
        for found in _SIGN.finditer(text):
            begin, end = found.span()
            plain = found[0] if end - begin == 1 else _unescaped(found)
            more = _signs_of(plain)
            signs += more
            begins += [begin] * len(more)
            ends += [end] * len(more)
        return cls(bytes(signs), begins, ends)

    def border(self, at: int, step: int) -> int:
        """Where a quote begins or ends whose outermost letters are by chance those of a word of the error's own."""
        for place in range(at, at + (_CHANCE + 1) * step, step):
            if not self.goes_on(place):
                return place
        return at

    def goes_on(self, at: int) -> bool:
        """Whether a word goes on across the border before this sign; where scripts have no borders, it does not."""
        if not 0 < at < len(self.signs) or self.ends[at - 1] != self.begins[at]:
            return False
        return self.signs[at - 1 : at + 1].isascii()


def _signs(text: str) -> bytes:
    """The skeleton of a text of any length."""
    if "\\" in text or "%" in text or "&" in text:
        text = _ESCAPE.sub(_unescaped, text)
    return _signs_of(text)


def _signs_of(text: str) -> bytes:
    return _BETWEEN.sub("", text.casefold()).encode("utf-8", "ignore")


def _unescaped(found: re.Match[str]) -> str:
    """What an escape stands for; line feeds and their like are no sign, and quotes neither."""
    escape = found[0]
    if escape[0] == "%":
        return _decoded(bytes.fromhex(escape.replace("%", "")))
    if escape[0] == "&":
        number = escape[2:-1] if escape[1] == "#" else ""
        return _character(int(number[1:], 16) if number[:1] == "x" else int(number or 0))
    kind, digits = escape.lstrip("\\")[0], escape.lstrip("\\")[1:]
    if kind == "x":
        return _decoded(bytes.fromhex(escape.replace("\\", "").replace("x", "")))
    return _character(int(digits, 16)) if kind in "uU" else ""


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _character(number: int) -> str:
    return chr(number) if number <= sys.maxunicode else ""


def _shared(signs: bytes, probes: set[bytes], runs: set[bytes]) -> Iterator[bytes]:
    """What a text shares with an error, in pieces of one length. Most of a text is passed over in strides."""
    for probe in range(0, len(signs) - _PROBE + 1, _STRIDE):
        if signs[probe : probe + _PROBE] in probes:
            for at in range(probe - _STRIDE + 1 if probe else 0, probe + 1):
                if (run := signs[at : at + _RUN]) in runs:
                    yield run


def _mark_runs(signs: bytes, shared: set[bytes], marks: bytearray) -> None:
    done = 0
    for at in range(len(signs) - _RUN + 1) if shared else ():
        if signs[at : at + _RUN] in shared:
            begin = max(at, done)
            done = at + _RUN
            marks[begin:done] = b"\1" * (done - begin)


def _is_phrase(text: str) -> bool:
    """Several words, or words of a script whose characters say more: no name, code or kind that an error may need."""
    stripped = text.strip()
    return not stripped.isascii() or any(character.isspace() for character in stripped)


def _mark_phrases(skeleton: _Skeleton, phrases: set[bytes], marks: bytearray) -> None:
    for phrase in phrases:
        at = skeleton.signs.find(phrase)
        while at >= 0:
            end = at + len(phrase)
            if not skeleton.goes_on(at) and not skeleton.goes_on(end):
                marks[at:end] = b"\1" * len(phrase)
            at = skeleton.signs.find(phrase, end)


def _masked(text: str, skeleton: _Skeleton, marks: bytearray) -> str:
    """The text with one mask for each quote, the signs between its words and all."""
    kept: list[str] = []
    place = at = 0
    while (begin := marks.find(1, at)) >= 0 and skeleton.begins[begin] < len(text):
        end = marks.find(0, begin)
        at = len(marks) if end < 0 else end
        first, last = skeleton.border(begin, 1), skeleton.border(at, -1)
        kept += [text[place : skeleton.begins[first]], MASK]
        place = skeleton.ends[last - 1]
    return "".join([*kept, text[place:]])
