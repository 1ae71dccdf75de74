"""How long may a name be? As long as the keys of every database can hold; what is beyond that is cut, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

__all__ = ("MOST_BYTES", "shortened")

_NAME, _LONG = 255, 1_000
MOST_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("agent", "chain", "mode", "model", "provider"), _NAME),
    **dict.fromkeys(("path", "run", "session", "user"), _LONG),
}
"""Dimension → the most bytes of a name in it, as UTF-8. A key of PostgreSQL holds 2,704: here the path and all of the
first five, or one of the others.
"""
_DIGEST_BYTES = 8


def shortened(name: str, dimension: str) -> str:
    """A name as it is kept: whole, or its beginning with `…` and a digest of the whole, so that two names stay two.

    Args:
        name: any text.
        dimension: what it names; in dimensions without a limit it stays whole.

    """
    most = MOST_BYTES.get(dimension)
    if most is None or len(name) <= most // 4:
        return name
    whole = name.encode(errors="surrogatepass")
    if len(whole) <= most:
        return name
    mark = f"…{blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest()}"
    return whole[: most - len(mark.encode())].decode(errors="ignore") + mark
