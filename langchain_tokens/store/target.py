"""Which database is meant? A URL or path, checked without opening it and without loading a database library."""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from langchain_tokens.errors import StoreError

__all__ = ("PUBLIC_OPTIONS", "StoreTarget", "chosen_folder", "parse_target")

_DEFAULT_URL = "sqlite:///langchain_tokens.db"
_MEMORY = "sqlite://"
_OWN_FOLDER = "own"
"""The mark in the folder that has its store's name: it stays when both get another."""
_ENVIRONMENT = "LANGCHAIN_TOKENS_URL"
_NAME_A_FOLDER = "set XDG_STATE_HOME (on Windows LOCALAPPDATA), or say journal=Path(FOLDER) or journal=False"
_EXPECTED = "expected a path, sqlite:///FILE, or postgresql+psycopg://USER@HOST/DATABASE"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_SQLITE = ("sqlite", "sqlite+pysqlite")
_PASSWORD_BEFORE_HOST = re.compile(r"(://(?!/)[^:]*:).*(?=@)", re.DOTALL)
_PASSWORD_WITHOUT_HOST = re.compile(r"(://[^:/?@\[]*:)(?![0-9]*(?:[/?]|$))[^@]*$")
"""What stands where a port would, and is none."""
_PUBLIC = (
    "application_name channel_binding connect_timeout dbname host hostaddr options passfile port prepare_threshold"
    " service sslcert sslcrl sslkey sslmode sslnegotiation sslrootcert target_session_attrs timeout user"
)
PUBLIC_OPTIONS = frozenset(_PUBLIC.split())
"""Options of a URL that may be shown; any other, also a misspelled one, may be a secret."""
_OTHER_OPTION = re.compile(rf"([?&](?!(?:{'|'.join(sorted(PUBLIC_OPTIONS))})=)[^&=]*=)[^&]*")
_PLACE = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?([^?]*)")
"""Where a server's URL, from beyond `://`, names the host and the database, as SQLAlchemy reads it."""
_PORT = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?(?:\[[^/?]+\]|[^/:?]+)?(?::([^/?]*))?")
"""The same, with what stands where the port would."""
_HIGHEST_PORT = 65_535
_LONGEST_PORT = 10  # digits
_NOT_IN_A_URL = frozenset({"autocommit", "context", "conninfo", "cursor_factory", "row_factory"})
"""Arguments of the driver's that a store's URL cannot set: not from text, or not without breaking the store."""
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_TIMEOUT_SECONDS = 30.0
_LONGEST_SECONDS = 1_000_000  # the driver counts milliseconds in 32 bits
_KEYWORDS = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|service)\s*=", re.IGNORECASE)
_LIKE_A_URL = re.compile(r"\s*(postgres(ql)?(\+\w*)?[:;]|\w{2,}(\+\w*)?[:;]?//?[^/:@]*:[^/@]*@)", re.IGNORECASE)
"""How a path begins that somebody meant as a server's URL."""
_SQLITE_HEADER = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTarget:
    """A database that was named, resolved against the working directory of that moment."""

    url: str = field(repr=False)
    """The URL for the database library; may hold a password."""
    path: Path | None
    """The SQLite file; None for a server or for memory."""
    journal_folder: Path | None
    """Where records wait until they are in the database, unless another place is named; None for a database that dies
    with the process, and for a server where this user has no place to keep state.
    """
    timeout: float = _TIMEOUT_SECONDS
    """Seconds that an SQLite connection waits for another's lock."""

    @property
    def is_memory(self) -> bool:
        """Tell whether the database lives in this process only."""
        return self.url == _MEMORY

    def mark_in(self, folder: Path) -> str:
        """What tells this store's files from those of others in a journal's folder: of a SQLite file, where it is seen
        from there, so that both may be moved together; of a server, its URL without secrets.
        """
        if self.journal_folder is not None and os.path.realpath(folder) == os.path.realpath(self.journal_folder):
            return _OWN_FOLDER
        place = _without_password(self.url) if self.path is None else _way(folder, self.path)
        return _digest(place)

    def __str__(self) -> str:
        return _without_password(self.url) if self.path is None else self.url


def parse_target(store: object) -> StoreTarget:
    """Resolve what a user named: None is `$LANGCHAIN_TOKENS_URL`, else `langchain_tokens.db` in the working directory.

    Raises:
        StoreError: for an unknown kind of URL, a folder that does not exist, or a file that is no SQLite database.

    """
    if store is None:
        store = os.environ.get(_ENVIRONMENT) or _DEFAULT_URL
    if "://" not in str(store) and _LIKE_A_URL.match(str(store)):  # not shown: it may hold a password
        raise StoreError(f"the store begins like a server's URL, but has no ://; {_EXPECTED}")
    if isinstance(store, Path):
        return _file_target(store)
    if not isinstance(store, str):
        raise StoreError(f"the store {store!r} is a {type(store).__name__}; {_EXPECTED}")
    if not store.strip() or "\0" in store:
        raise StoreError(f"the store {store!r} is empty, or has a NUL; {_EXPECTED}")
    return _text_target(store)


def chosen_folder(target: StoreTarget, journal: bool | str | Path) -> Path | None:
    """Where records wait for a store: in its own folder, in one that was named (seen from the working directory of this
    moment, since a process may leave it), or nowhere.

    Raises:
        StoreError: for a folder in the home of a user that there is not, and where no folder is named and this user has
            none for state.

    """
    if journal is True and target.journal_folder is None and not target.is_memory:
        raise StoreError(f"the journal of {target} has no place, since this user has no home folder; {_NAME_A_FOLDER}")
    if isinstance(journal, bool):
        return target.journal_folder if journal else None
    try:
        return Path(journal).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # no such user, or no working directory any more
        raise StoreError(f"the journal {str(journal)!r} cannot be found: {error}; expected a folder") from error


def _text_target(store: str) -> StoreTarget:
    if store == ":memory:":
        return _sqlite_target(_MEMORY)
    if store.startswith("file:"):
        raise StoreError(f"the store {store!r} is SQLite's own kind of URI; {_EXPECTED}")
    if _KEYWORDS.match(store):  # not shown: it may hold a password
        raise StoreError(f"the store is a list of PostgreSQL's keywords and values; {_EXPECTED}")
    if "://" not in store:
        return _file_target(Path(store))
    store = store.strip()
    scheme = store.split("://", 1)[0].lower()
    if scheme in _SQLITE:
        return _sqlite_target(store)
    if scheme in _POSTGRESQL:
        return _server_target(store)
    raise StoreError(f"the store URL {_without_password(store)!r} has the scheme {scheme!r}; {_EXPECTED}")


def _sqlite_target(url: str) -> StoreTarget:
    rest, _, query = url.split("://", 1)[1].partition("?")
    timeout = _timeout(_without_password(url).partition("?")[0], query)
    if rest in ("", "/", "/:memory:"):
        return StoreTarget(url=_MEMORY, path=None, journal_folder=None)
    if not rest.startswith("/"):
        shown, meant = _without_password(url), rest.rpartition("@")[2]
        raise StoreError(f"the store URL {shown!r} names a host; a file needs three slashes: sqlite:///{meant}")
    return replace(_file_target(Path(unquote(rest[1:]))), timeout=timeout)


def _timeout(url: str, query: str) -> float:
    """The one option that an SQLite URL may have; others, such as `mode`, would not do here what they say. `url` is
    without it, since it may hold a key.
    """
    seconds = _TIMEOUT_SECONDS
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "timeout":
            raise StoreError(f"the store URL {url!r} has the option {name!r}; allowed: timeout (seconds)")
        seconds = float(value) if _SECONDS.fullmatch(value) else math.inf
        if seconds > _LONGEST_SECONDS:
            raise StoreError(f"the store URL {url!r} has timeout={value!r}; expected seconds, such as 30")
    return seconds


def _file_target(path: Path) -> StoreTarget:
    try:
        resolved = path.expanduser().absolute()
        _check_file(resolved)
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such user, a NUL
        raise StoreError(f"the store {str(path)!r} cannot be looked at: {error}; {_EXPECTED}") from error
    folder = resolved.with_name(resolved.name + ".pending")
    return StoreTarget(url=f"sqlite:///{resolved}", path=resolved, journal_folder=folder)


def _check_file(path: Path) -> None:
    if "\0" in str(path):
        raise ValueError("its name has a NUL")
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder; {_EXPECTED}")
    if not path.parent.is_dir():
        raise StoreError(f"the store {path} is in a folder that does not exist; make {path.parent} first")
    if not path.exists():
        return
    if not path.is_file():
        raise StoreError(f"the store {path} is neither a file nor a folder; {_EXPECTED}")
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    if start and start != _SQLITE_HEADER:
        raise StoreError(f"the store {path} is not an SQLite database (it starts with {start[:16]!r}); {_EXPECTED}")


def _server_target(url: str) -> StoreTarget:
    full = "postgresql+psycopg://" + url.split("://", 1)[1]
    _check_server(full)
    state = _state_folder()
    return StoreTarget(
        url=full, path=None, journal_folder=None if state is None else state / _digest(_without_password(full))
    )


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode(errors="surrogatepass")).hexdigest()[:16]


def _way(folder: Path, path: Path) -> str:
    """How a file is reached from a folder; from another drive of Windows, its whole path."""
    real = os.path.realpath(path)
    try:
        return os.path.relpath(real, os.path.realpath(folder))
    except ValueError:
        return real


def _check_server(url: str) -> None:
    rest = url.split("://", 1)[1]
    _check_port(rest)
    place = _PLACE.match(rest)
    if place is not None and "@" in place[1]:  # a part of the password would be taken, and shown, as a part of this
        shown = _without_password(url)
        raise StoreError(
            f"the store URL {shown!r} has one @ too many; in a name or a password write @ as %40, / as %2F"
        )
    wrong = _NOT_IN_A_URL.intersection(name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True))
    if wrong:
        raise StoreError(f"the store URL {_without_password(url)!r} has the option {min(wrong)!r}, which it cannot set")


def _check_port(rest: str) -> None:
    found = _PORT.match(rest)
    port = None if found is None else found[1]
    if port is None or (port.isascii() and port.isdigit() and len(port) < _LONGEST_PORT and int(port) <= _HIGHEST_PORT):
        return
    # Not shown: without a host, the password stands there.
    raise StoreError(
        "the store URL has a port that is none (up to 65535), or a user and a password without @HOST; expected "
        "postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
    )


def _state_folder() -> Path | None:
    """Where a program keeps state between its runs (XDG Base Directory; LOCALAPPDATA on Windows); None where neither
    that nor a home folder is known, as in containers whose user has no entry in the list of users.
    """
    is_windows = sys.platform == "win32"
    said = os.environ.get("LOCALAPPDATA" if is_windows else "XDG_STATE_HOME")
    try:
        base = Path(said) if said else Path.home() / ("AppData/Local" if is_windows else ".local/state")
        return (base / "langchain_tokens").absolute()
    except (OSError, RuntimeError):  # no home folder, or no working directory any more
        return None


def _without_password(url: str) -> str:
    """The URL as it may be shown: a password before the host, and what of the query might be one, are masked."""
    masked = _PASSWORD_WITHOUT_HOST.sub(r"\1***", _PASSWORD_BEFORE_HOST.sub(r"\1***", url))
    return _OTHER_OPTION.sub(r"\1***", masked)
