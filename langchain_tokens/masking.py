"""What of a text may be kept? An error's, not endlessly long, and any other, both without what looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_tokens.quoting import MASK, without_quotes

__all__ = ("MASK", "NOT_STORED", "error_text", "is_secret_name", "masked")

_LENGTH = 2_000
_READ = 10_000
_BEYOND = 400
"""Read behind that, to tell whether a quote goes on there."""
_SECRETS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk|xai)-[A-Za-z0-9_\-.*]{6,}"
    r"|(?<![A-Za-z0-9])(?:gsk_|AIza)[A-Za-z0-9_\-.*]{6,}"
    r"|(?<![A-Za-z0-9])(?:hf_|r8_|gh[opsu]_|pplx-|AKIA)[A-Za-z0-9]{16,}"  # shorter ones are models' names
    r"|(?<![A-Za-z0-9])(?:github_pat_|nvapi-|xox[abp]-|lsv2_)[A-Za-z0-9_\-]{16,}"
    r"|(?<![A-Za-z0-9])eyJ(?-i:[A-Za-z0-9_\-]{6,}+\.[A-Za-z0-9_\-]++\.[A-Za-z0-9_\-]+)"  # a JSON Web Token;
    # its letters are taken as they are: a text of many such beginnings is read again for each of them
    r"|(?<=Bearer )\s*\S+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)",
    re.IGNORECASE,
)
_ANSWERS = re.compile(
    r"(failed_generation['\"]?\s*[=:]\s*).*"  # Groq sends back what the model had written
    r"|(input_value=).*?(?=, input_type=|\Z)",  # so does pydantic; an answer without its end is masked, and read once
    re.IGNORECASE | re.DOTALL,
)
NOT_STORED = re.compile("[\0\ud800-\udfff]")
"""Characters that PostgreSQL, or UTF-8, does not take."""
_NAMED_SECRETS = re.compile(
    r"((?:api[_-]?key|password|passwd|secret|(?:access|auth|refresh)[_-]?token)['\"]?\s*[=:]\s*['\"]?)[^\s'\",}]{4,}",
    re.IGNORECASE,
)
_STARTS = (
    ("-", ("sk-", "rk-", "pk-", "xai-", "pplx-", "nvapi-", "xoxa-", "xoxb-", "xoxp-")),
    ("_", ("gsk_", "hf_", "r8_", "gho_", "ghp_", "ghs_", "ghu_", "github_pat_", "lsv2_")),
    ("", ("aiza", "akia", "eyj")),
)
"""How secrets begin, in small letters, by a character without which a text has none of them."""
_BEFORE = ("bearer ", "://")
"""What stands before others."""
_NAMED_STARTS = ("api", "passw", "secret", "access", "auth", "refresh")
"""How the names of secrets begin."""
_ENCODED = "eyj"
"""How a JSON Web Token begins."""
_RUN = re.compile(r"[A-Za-z0-9_\-]*")
_NAME = re.compile(r".{0,60}(?:api[_-]?key|password|passwd|secret|(?:access|auth|refresh)[_-]?token)", re.IGNORECASE)


def error_text(error: BaseException | str, said: Iterable[Any] = ()) -> str:
    """An error's message as it may be stored.

    Keys of providers, tokens, passwords and what the model had written become `***`, and so does whatever it quotes of
    `said`: the messages, inputs and answers of the call or run that failed. A text over 2,000 characters is cut;
    characters that a database does not take (NUL, halves of surrogate pairs) become U+FFFD.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a foreign class may fail even here, and the call is to be recorded all the same
        return f"<{type(error).__name__} without a text>"
    text = _without_said(_without_answer(text, error), said)  # masking takes its time for each character
    text = NOT_STORED.sub("\ufffd", _NAMED_SECRETS.sub(r"\1***", _SECRETS.sub("***", text)))
    return text if len(text) <= _LENGTH else text[:_LENGTH] + "…"


def _without_said(text: str, said: Iterable[Any]) -> str:
    """Leave out what was sent and answered; all of the text where that cannot be looked through."""
    if not said:
        return text[:_READ]
    try:
        return without_quotes(text[: _READ + _BEYOND], said, _READ)
    except Exception:  # noqa: BLE001  # inputs are foreign objects, and what cannot be told apart is not kept
        return MASK


def _without_answer(text: str, error: BaseException | str) -> str:
    """Leave out what the model had written, which parsers quote when they cannot read it."""
    quoted = getattr(error, "llm_output", None)
    if isinstance(quoted, str) and quoted.strip():
        text = text.replace(quoted, "***")
    return _ANSWERS.sub(r"\1\2***", text)


def masked(text: str) -> str:
    """A text in which keys of providers, tokens and passwords are `***`, as in an error's text, and characters that a
    database does not take are U+FFFD.

    For texts of any length: it is looked only where a secret may begin, which takes a tenth of the time, and no text is
    read again and again.
    """
    low = text.lower()
    if len(low) != len(text):  # a letter that two small ones stand for: places would not be the same
        low = text.translate({304: "i"}).lower()
    text = _replaced(text, _secrets(text, low))
    if "=" in text or ":" in text:
        low = low if len(low) == len(text) and "***" not in text else text.translate({304: "i"}).lower()
        text = _replaced(text, _named_secrets(text, low))
    return text if text.isascii() and "\0" not in text else NOT_STORED.sub("\ufffd", text)


def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret, whatever it looks like."""
    return _NAME.fullmatch(name) is not None


def _replaced(text: str, spans: Iterator[tuple[int, int]]) -> str:
    pieces, done = [], 0
    for start, end in spans:
        pieces += [text[done:start], "***"]
        done = end
    return text if not pieces else "".join((*pieces, text[done:]))


def _secrets(text: str, low: str) -> Iterator[tuple[int, int]]:
    """Where secrets begin and end that are told by how they look."""
    places = [place for sign, starts in _STARTS if sign in low for start in starts for place in _places(low, start)]
    places += [place + len(start) for start in _BEFORE for place in _places(low, start)]
    done = fruitless = 0
    for place in sorted(places):
        is_token = low.startswith(_ENCODED, place)
        if place < done or (is_token and place < fruitless):
            continue
        found = _SECRETS.match(text, place)
        if found is not None:
            done = found.end()
            yield found.span()
        elif is_token and not text[place - 1 : place].isalnum():  # then none is one that begins in the same run either
            run = _RUN.match(text, place)
            fruitless = place if run is None else run.end()


def _named_secrets(text: str, low: str) -> Iterator[tuple[int, int]]:
    """The same for those that are told by the name before them."""
    done = 0
    for place in sorted(place for start in _NAMED_STARTS for place in _places(low, start)):
        found = _NAMED_SECRETS.match(text, place) if place >= done else None
        if found is not None:
            done = found.end()
            yield found.end(1), done


def _places(text: str, start: str) -> Iterator[int]:
    place = text.find(start)
    while place >= 0:
        yield place
        place = text.find(start, place + 1)
