"""Where in a run was a call made? The names from the root down as one text, and back, whatever the names hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ("join_path", "split_path")

_SEPARATOR = "/"
_SPECIAL = re.compile(r"[\\/]")
_ESCAPED_OR_SEPARATOR = re.compile(r"\\[\\/]|/")
_ESCAPED = re.compile(r"\\([\\/])")


def join_path(names: Sequence[str]) -> str | None:
    r"""Join names by slashes; a slash or a backslash in a name gets a backslash in front. None without names.

    >>> join_path(["nl2sql", "read/write"])
    'nl2sql/read\\/write'
    """
    path = _SEPARATOR.join(names)
    if "\\" in path or path.count(_SEPARATOR) > len(names) - 1:
        path = _SEPARATOR.join([_SPECIAL.sub(r"\\\g<0>", name) for name in names])
    return path or None


def split_path(path: str) -> tuple[str, ...]:
    r"""The names that `join_path` joined; a backslash before any other character is a character of the name."""
    if "\\" not in path:
        return tuple(path.split(_SEPARATOR))
    ends = [found.start() for found in _ESCAPED_OR_SEPARATOR.finditer(path) if found[0] == _SEPARATOR]
    parts = (path[start:end] for start, end in zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True))
    return tuple(_ESCAPED.sub(r"\1", part) for part in parts)
