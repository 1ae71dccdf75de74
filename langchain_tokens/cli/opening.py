"""Is there a database to read? A command that reads makes none, and says why there is nothing to see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

import typer

from langchain_tokens.cli.options import Shown
from langchain_tokens.cli.output import NOTHING_MATCHED, hint
from langchain_tokens.errors import StoreError
from langchain_tokens.store.target import StoreTarget, parse_target

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("MAKING", "has_content", "nothing_found", "opened", "why_nothing")


@contextmanager
def opened(database: str | None) -> Iterator[UsageStore]:
    """Open a store that exists; records that a killed process left are delivered first.

    Raises:
        StoreError: where there is none, or it cannot be opened.

    """
    target = parse_target(database)
    is_waiting = _has_waiting(target)
    if not (is_waiting or _is_there(target)):
        raise StoreError(f"there is no database of langchain_tokens at {target}; {MAKING}")
    store = _delivered(database) if is_waiting else _opened(target)
    try:
        yield store
    finally:
        store.close()


MAKING = (
    "a TokenUsageHandler() in callbacks= makes it with the first call; if it is elsewhere, say where:"
    " --db, or LANGCHAIN_TOKENS_URL"
)


def has_content(target: StoreTarget) -> bool:
    """Whether there is something to open: opening a file that does not exist, or is empty, would write one."""
    return target.path is None or (target.path.exists() and target.path.stat().st_size > 0)


def nothing_found(store: UsageStore, shown: Shown) -> NoReturn:
    """Say why nothing was found, and end the command.

    Raises:
        typer.Exit: always.

    """
    hint(why_nothing(store))
    raise typer.Exit(NOTHING_MATCHED if shown.fail_empty else 0)


def why_nothing(store: UsageStore) -> str:
    """Why a question about calls found none."""
    newest = store.calls(limit=1)
    if not newest:
        return f"{store.target} has no calls yet: pass TokenUsageHandler() in callbacks="
    return f"no call matches; the newest in {store.target} is of {newest[0].started_at:%Y-%m-%d %H:%M} UTC"


def _delivered(database: str | None) -> UsageStore:
    """The store, with the records that wait delivered: for that prices and tokenizers have to be loaded."""
    from langchain_tokens.registry import open_store

    return open_store(database)


def _opened(target: StoreTarget) -> UsageStore:
    """The store alone."""
    from langchain_tokens.store.store import UsageStore

    store = UsageStore(target)
    try:
        store._engine()  # opens it now, so that a wrong store is an error here and not later
    except StoreError:
        store.close()
        raise
    return store


def _is_there(target: StoreTarget) -> bool:
    """Whether a database has tables of ours."""
    from langchain_tokens.store.looking import found_revision

    return not target.is_memory and has_content(target) and found_revision(target) is not None


def _has_waiting(target: StoreTarget) -> bool:
    """Whether a journal holds records that no database has yet."""
    for file in () if target.journal_folder is None else target.journal_folder.glob("*.jsonl"):
        with suppress(FileNotFoundError):  # its owner may just have delivered it
            if file.stat().st_size:
                return True
    return False
