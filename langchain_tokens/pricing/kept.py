"""Which prices did this user fetch? The feed as it was sent, in the user's data folder, until the library is newer."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from langchain_tokens.errors import PriceError

__all__ = ("Kept", "fetched_version", "keep", "kept", "kept_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A feed that was fetched."""

    content: bytes
    version: str
    """What costs are marked with."""
    library: str
    """The version of the catalogue's library at that time; a newer one brings newer prices along."""
    place: str


def kept_file() -> Path:
    """Where fetched prices are kept: in the user's own data folder, as the platform has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "langchain_tokens" / "prices.json"


def fetched_version(library: str) -> str:
    """What costs by prices that are fetched now are marked with."""
    return f"{library}+fetched.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def keep(feed: Kept) -> Path:
    """Keep a feed for this user's later programs; it is there whole or not at all.

    Raises:
        PriceError: when the folder cannot be written.

    """
    file = kept_file()
    head = {"version": feed.version, "library": feed.library, "place": feed.place}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        beside.write_bytes(json.dumps(head).encode() + b"\n" + feed.content)
        beside.replace(file)
    except OSError as error:
        raise PriceError(f"fetched prices cannot be kept in {file}: {error}") from error
    return file


def kept(library: str) -> Kept | None:
    """The feed that was kept, where it was fetched for this version of the library.

    Raises:
        PriceError: when there is one that cannot be read.

    """
    file = kept_file()
    try:
        head, _, content = file.read_bytes().partition(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PriceError(f"fetched prices in {file} cannot be read: {error}") from error
    try:
        said = json.loads(head)
        feed = Kept(content=content, version=said["version"], library=said["library"], place=said["place"])
    except (ValueError, LookupError, TypeError) as error:
        raise PriceError(f"fetched prices in {file} cannot be read: {type(error).__name__}: {error}") from error
    return feed if feed.library == library else None
