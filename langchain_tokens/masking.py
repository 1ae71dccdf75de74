"""What of an error may be kept? Its text without what looks like a secret, and not endlessly long."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from langchain_tokens.quoting import MASK, without_quotes

__all__ = ("MASK", "NOT_STORED", "error_text")

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
