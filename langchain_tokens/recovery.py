"""How do facts get into a sink? In one piece, again and again until it holds, also from journals of dead processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import Fact, decode, encode
from langchain_tokens.journal import Abandoned, abandoned
from langchain_tokens.portions import Portions
from langchain_tokens.said import ContentFact
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.syncing import sync_file, sync_sqlite
from langchain_tokens.trouble import Warnings, may_be_a_signal

__all__ = (
    "Pieces",
    "Recovered",
    "Refine",
    "Sink",
    "add_or_refuse",
    "bad_file",
    "batch_size",
    "is_refusal",
    "keep_aside",
    "make_lasting",
    "read_facts",
    "recover",
    "recovering",
    "refined",
    "refined_call",
)

_BATCH = 2_000
_SERVER_BATCH = 4_000
AT_ONCE = 20
"""Facts that are read or refined in one go, in half a millisecond, while many wait."""
_QUERY_CANCELED = "57014"
"""PostgreSQL's code."""
_LARGEST_BAD_FILE = 64 << 20
_BAD_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
Refine = Callable[[Call], Call]
Pieces = dict[Path, dict[tuple[int, int], bool]]
"""Which pieces of journals that could not be finished were delivered, and whether what was refused is kept aside."""


class Sink(Protocol):
    """Where facts end up."""

    target: StoreTarget

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Take facts, all or none. The same facts may come again; one thread calls at a time."""

    def close(self) -> None:
        """Let go of connections; a later `add` opens them again."""

    def forget_after_fork(self) -> None:
        """Drop what belongs to the parent process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What came of a piece of a journal that a dead process left."""

    delivered: int
    """Facts that the sink took; some may have been stored before."""
    refused: int
    """Facts that it refused."""
    unreadable: int
    """Lines that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLines:
    """What cannot be read."""

    count: int
    lines: Sequence[bytes]
    """To be kept; of a block of NULs, as a loss of power leaves it, there is nothing to keep."""


_COUNTED = Recovered(delivered=0, refused=0, unreadable=0)
"""What comes of a piece that was counted before."""


def batch_size(target: StoreTarget) -> int:
    """How many facts go into one transaction at most. Where all that write take turns, as in a SQLite file, others wait
    for it; elsewhere a larger one has less to do for each fact, since more of them are in the same sums.
    """
    return _BATCH if target.path is not None else _SERVER_BATCH


def recover(folder: Path, sink: Sink, refine: Refine | None, warnings: Warnings) -> int:
    """Deliver the journals that dead processes left in a folder for this store.

    Returns:
        How many facts were delivered; some may have been stored before.

    Raises:
        Exception: what the sink raises; the journal at hand then stays for the next opener.

    """
    return sum(piece.delivered for piece in recovering(folder, sink, refine, warnings))


def recovering(
    folder: Path,
    sink: Sink,
    refine: Refine | None,
    warnings: Warnings,
    pieces: Pieces | None = None,
    *,
    portions: Portions | None = None,
) -> Generator[Recovered, None, None]:
    """The same piece by piece: each step delivers a transaction of facts. A journal that is not gone through to its
    end, or cannot be removed, stays, whole, for the next opener; the sink knows what it has of it.

    Args:
        folder: as for `recover`, like the next three.
        sink: where to.
        refine: what is done to calls before.
        warnings: logs trouble.
        pieces: remembers what was delivered, for a later try of the same process, which counts nothing twice then.
        portions: remembers how many facts its server takes at once.

    """
    unreadable, pieces, portions = 0, {} if pieces is None else pieces, portions or Portions()
    try:
        for segment in abandoned(folder, sink.target.mark_in(folder)):
            try:
                for piece in _deliver(segment, sink, refine, warnings, pieces, portions=portions):
                    unreadable += piece.unreadable
                    yield piece
            except OSError as error:
                warnings.once("left journal", f"{segment.path} could not be read, or removed when stored", error)
    finally:
        if unreadable:
            warnings.once("bad line", f"{unreadable:,} lines of journals cannot be read; kept in {bad_file(folder)}")


def _deliver(
    segment: Abandoned, sink: Sink, refine: Refine | None, warnings: Warnings, pieces: Pieces, *, portions: Portions
) -> Iterator[Recovered]:
    known = pieces.setdefault(segment.path, {})
    for lines in segment.batches(batch_size(sink.target)):
        is_kept = known.get(segment.place)
        if is_kept:
            continue
        facts, bad = read_facts(lines)
        refused = add_or_refuse(sink, [refined(fact, refine, warnings) for fact in facts], warnings, portions)
        known[segment.place] = keep_aside(segment.path.parent, [*bad.lines, *map(encode, refused)], warnings)
        found = Recovered(delivered=len(facts) - len(refused), refused=len(refused), unreadable=bad.count)
        yield found if is_kept is None else _COUNTED
    if all(known.values()):  # else it stays, since it has the only copy of what cannot be delivered
        make_lasting(sink)
        segment.remove()
        del pieces[segment.path]


def read_facts(lines: Sequence[bytes]) -> tuple[list[Fact], BadLines]:
    """Read lines of a journal back. What a block of NULs precedes is read for itself; the block counts as bad."""
    facts: list[Fact] = []
    kept: list[bytes] = []
    count = 0
    for number, line in enumerate(lines):
        if number % AT_ONCE == 0:
            time.sleep(0)  # lets go of the interpreter, for the host's threads
        try:
            facts.append(decode(line))
        except ValueError:
            count += 1
            rest = line.strip(b"\0")
            try:
                facts.append(decode(rest))
            except ValueError:
                kept += [line] if rest or not line else []
    return facts, BadLines(count=count, lines=kept)


def make_lasting(sink: Sink) -> None:
    """Wait until what a sink has taken survives a loss of power, where it does not see to that itself.

    Raises:
        OSError: when the device does not take it.

    """
    if sink.target.path is not None:
        sync_sqlite(sink.target.path)


def refined(fact: Fact, refine: Refine | None, warnings: Warnings) -> Fact:
    """Price a call; one that cannot be priced stays as it is."""
    return fact if refine is None or not isinstance(fact, Call) else refined_call(fact, refine, warnings)


def refined_call(call: Call, refine: Refine, warnings: Warnings) -> Call:
    """Price a call. A price book that fails leaves it unpriced: neither the writer nor a reader may stop for it."""
    try:
        return refine(call)
    except BaseException as error:  # a user's price book may do anything
        if may_be_a_signal(error):
            raise
        warnings.once("price", "a call could not be priced; it is kept without a cost", error)
        return call


def add_or_refuse(sink: Sink, facts: Sequence[Fact], warnings: Warnings, portions: Portions) -> Sequence[Fact]:
    """Hand facts over; where the sink refuses a value, hand them over one by one, and where its server
    allows less time than they take, in smaller portions.

    Returns:
        The facts that were refused.

    Raises:
        Exception: what the sink raises beside a refusal.

    """
    refused: list[Fact] = []
    start = 0
    while start < len(facts):
        portion = facts[start : start + portions.of(len(facts) - start)]
        began = time.monotonic()
        try:
            refused += _refused_of(sink, portion, warnings)
        except Exception as error:
            if len(portion) == 1 or not _is_too_slow(error):
                raise
            portions.note_too_slow(len(portion), time.monotonic() - began)
        else:
            start += len(portion)
            portions.note_stored(len(portion), time.monotonic() - began)
    return refused


def _refused_of(sink: Sink, facts: Sequence[Fact], warnings: Warnings) -> Sequence[Fact]:
    """Hand facts over at once, or one by one where the sink refuses a value."""
    try:
        _add(sink, facts)
    except Exception as error:
        if not is_refusal(error):
            raise
        return [fact for fact in facts if not _is_taken(sink, fact, warnings)]
    return ()


def _is_taken(sink: Sink, fact: Fact, warnings: Warnings) -> bool:
    try:
        _add(sink, [decode(encode(fact))])  # the journal's form has no invalid text, which may be all that is wrong
    except Exception as error:
        if not is_refusal(error):
            raise
        warnings.once("refused", "the store refused a record; it is kept in a .bad file beside the journal", error)
        return False
    return True


def _add(sink: Sink, facts: Sequence[Fact]) -> None:
    if facts:
        calls = [fact for fact in facts if isinstance(fact, Call)]
        runs = [fact for fact in facts if isinstance(fact, RunFact)]
        if len(calls) + len(runs) == len(facts):
            sink.add(calls, runs)
        else:
            sink.add(calls, runs, [fact for fact in facts if isinstance(fact, ContentFact)])


def is_refusal(error: Exception) -> bool:
    """Tell whether a sink refused a value, or stumbled over it, so that the same facts would never get in."""
    return isinstance(error, (TypeError, ValueError)) or any(
        kind.__name__ == "RowError" for kind in type(error).__mro__
    )


def _is_too_slow(error: BaseException | None) -> bool:
    """Tell whether a server has ended a statement that took longer than it may: with fewer facts it may do."""
    while error is not None:
        if _QUERY_CANCELED in (getattr(known, "sqlstate", None) for known in (error, getattr(error, "orig", None))):
            return True
        error = error.__cause__
    return False


def bad_file(folder: Path) -> Path:
    """Where that is kept which no store will take, in a journal's folder."""
    return folder / "refused.bad"


def keep_aside(folder: Path, lines: Sequence[bytes], warnings: Warnings) -> bool:
    """Keep lines in the `.bad` file beside the journal; tell whether they are in it. Of a file that has grown beyond
    64 MiB, nobody will read more: they are let go then.
    """
    if not lines:
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(bad_file(folder), _BAD_FLAGS, 0o600), "ab") as file:  # as private as the journal
            if file.tell() > _LARGEST_BAD_FILE:
                warnings.once("full bad file", f"{bad_file(folder)} is full; no more is kept in it")
                return True
            file.writelines(line.rstrip(b"\n") + b"\n" for line in lines)
            file.flush()
            sync_file(file.fileno())
    except OSError as error:
        warnings.once("bad file", "a refused record could not be kept in a .bad file", error)
        return False
    return True
