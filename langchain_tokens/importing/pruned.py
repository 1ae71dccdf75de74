"""Would calls be counted twice? A prune that keeps sums takes the rows, and with them the ids, of what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from langchain_tokens.call import Call
from langchain_tokens.errors import FormatError, StoreError
from langchain_tokens.importing.storing import Found
from langchain_tokens.render import counted

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("is_pruned", "refuse_pruned")

_BATCH: Final = 1_000


def is_pruned(store: UsageStore) -> bool:
    """Whether a store has sums whose rows were pruned."""
    return store.existing(()).rows_since is not None


def refuse_pruned(store: UsageStore, read: Callable[[], Iterable[Found]], source: str) -> None:
    """Refuse an import with calls of a time whose rows were pruned and whose sums are kept, before anything is stored.

    Calls of that time that are stored, as those are that came late, are not stored again and do no harm.

    Args:
        store: where to.
        read: what the rows hold; read to the end only where rows were pruned.
        source: what is imported, for the error.

    Raises:
        StoreError: with how many there are, and from when on rows are kept.

    """
    since = store.existing(()).rows_since
    if since is None:
        return
    old = sum(_count(store, batch) for batch in _batches(read(), since))
    if old:
        raise StoreError(
            f"{source} has {counted(old, 'call')} from before {since:%Y-%m-%d %H:%M} UTC, whose rows were pruned in "
            f"{store.target}: their sums are still there, so that they would count twice; nothing was stored. Import "
            "what started from then on, or into another database"
        )


def _batches(found: Iterable[Found], since: datetime) -> Iterator[list[Call]]:
    calls = (one.call for one in _readable(found) if one.call is not None and one.call.started_at < since)
    while batch := list(islice(calls, _BATCH)):
        yield batch


def _readable(found: Iterable[Found]) -> Iterator[Found]:
    """What comes before a broken place: the import stores that, and then says where it ended."""
    with suppress(FormatError):
        yield from found


def _count(store: UsageStore, calls: Sequence[Call]) -> int:
    stored = store.existing(calls).revisions
    return len({call.call_id for call in calls} - stored.keys())
