"""What of an error may be kept? Its text without what looks like a secret, and not endlessly long."""

from __future__ import annotations

import re

__all__ = ("error_text",)

_LENGTH = 2_000
_SECRETS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk|xai)-[A-Za-z0-9_\-.*]{6,}"
    r"|(?<![A-Za-z0-9])(?:gsk_|AIza)[A-Za-z0-9_\-.*]{6,}"
    r"|(?<=Bearer )\s*\S+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)",
    re.IGNORECASE,
)
_NAMED_SECRETS = re.compile(r"(api[_-]?key['\"]?\s*[=:]\s*['\"]?)[^\s'\",}]{4,}", re.IGNORECASE)


def error_text(error: BaseException | str) -> str:
    """An error's message as it may be stored.

    Keys of providers, bearer tokens and passwords in URLs become `***`; a text over 2,000 characters is cut.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a foreign class may fail even here, and the call is to be recorded all the same
        return f"<{type(error).__name__} without a text>"
    text = _NAMED_SECRETS.sub(r"\1***", _SECRETS.sub("***", text))
    return text if len(text) <= _LENGTH else text[:_LENGTH] + "…"
