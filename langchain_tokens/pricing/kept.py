"""Which prices did this user fetch? The feed as it was sent, in the user's data folder, until the library is newer."""

from __future__ import annotations

import json
import os
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from langchain_tokens.errors import PriceError

__all__ = ("Kept", "fetched_version", "keep", "kept", "kept_file")

_FILE = Path("langchain_tokens", "prices.json")


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
    """Where fetched prices are kept: in the user's own data folder, as the platform has it.

    Raises:
        PriceError: for a user without a home, such as in a container that gives out user ids.

    """
    name = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_DATA_HOME"
    said = Path(os.environ.get(name, ""))
    if said.is_absolute():  # a relative one is to be ignored, says the XDG Base Directory specification
        return said / _FILE
    usual = "AppData/Local" if sys.platform == "win32" else ".local/share"
    try:
        return Path.home() / usual / _FILE
    except RuntimeError as error:
        raise PriceError(f"there is no folder to keep fetched prices in: {error}; set {name}") from error


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
    beside = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(beside, json.dumps(head).encode() + b"\n" + feed.content)
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise PriceError(f"fetched prices cannot be kept in {file}: {error}") from error
    return file


def kept(library: str) -> Kept | None:
    """The feed that was kept, where it was fetched for this version of the library.

    Raises:
        PriceError: when there is one that cannot be read.

    """
    try:
        file = kept_file()
    except PriceError:
        return None  # who has no folder has kept nothing there
    try:
        head, _, content = file.read_bytes().partition(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PriceError(f"fetched prices in {file} cannot be read: {error}") from error
    try:
        said = json.loads(head)
        version, kept_for, place = (_text(said[name]) for name in ("version", "library", "place"))
    except (ValueError, LookupError, TypeError) as error:
        raise PriceError(f"fetched prices in {file} cannot be read: {type(error).__name__}: {error}") from error
    return Kept(content=content, version=version, library=kept_for, place=place) if kept_for == library else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"found {value!r}, expected text")
    return value


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file that is on the disk when this returns, so that renaming it cannot make half a file the one."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
