"""How do facts get into a sink? In one piece, again and again until it holds, also from journals of dead processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import decode, encode
from langchain_tokens.journal import abandoned
from langchain_tokens.trouble import Warnings

__all__ = ("Refine", "Sink", "add_or_set_aside", "is_refusal", "recover", "refined", "refined_call")

BATCH = 500
"""Facts that go into one transaction."""
Refine = Callable[[Call], Call]


class Sink(Protocol):
    """Where facts end up."""

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
        """Take facts, all or none. The same facts may come again; one thread calls at a time."""

    def close(self) -> None:
        """Let go of connections; a later `add` opens them again."""

    def forget_after_fork(self) -> None:
        """Drop what belongs to the parent process."""


def recover(folder: Path, sink: Sink, refine: Refine | None, warnings: Warnings) -> int:
    """Deliver the journals that dead processes left in a folder.

    Returns:
        How many facts were delivered; some may have been stored before.

    Raises:
        Exception: what the sink raises; the journal at hand then stays for the next opener.

    """
    delivered = 0
    for segment in abandoned(folder):
        facts: list[Call | RunFact] = []
        for line in segment.lines():
            try:
                facts.append(refined(decode(line), refine, warnings))
            except ValueError as error:
                warnings.once("bad line", f"{segment.path} has a line that cannot be read; kept in a .bad file", error)
                _keep_aside(folder, line, warnings)
        for start in range(0, len(facts), BATCH):
            batch = facts[start : start + BATCH]
            delivered += len(batch) - len(add_or_set_aside(sink, batch, folder, warnings))
        segment.remove()
    return delivered


def refined(fact: Call | RunFact, refine: Refine | None, warnings: Warnings) -> Call | RunFact:
    """Price a call; one that cannot be priced stays as it is."""
    return fact if refine is None or not isinstance(fact, Call) else refined_call(fact, refine, warnings)


def refined_call(call: Call, refine: Refine, warnings: Warnings) -> Call:
    """Price a call. A price book that fails leaves it unpriced: neither the writer nor a reader may stop for it."""
    try:
        return refine(call)
    except Exception as error:  # noqa: BLE001  # a user's price book may do anything
        warnings.once("price", "a call could not be priced; it is kept without a cost", error)
        return call


def add_or_set_aside(
    sink: Sink, facts: Sequence[Call | RunFact], folder: Path | None, warnings: Warnings
) -> Sequence[Call | RunFact]:
    """Hand facts over; where the sink refuses a value, hand them over one by one, and keep aside what it refuses.

    Returns:
        The facts that were refused.

    Raises:
        Exception: what the sink raises beside a refusal.

    """
    try:
        _add(sink, facts)
    except Exception as error:
        if not is_refusal(error):
            raise
        return [fact for fact in facts if not _is_taken(sink, fact, folder, warnings)]
    return ()


def _is_taken(sink: Sink, fact: Call | RunFact, folder: Path | None, warnings: Warnings) -> bool:
    line = encode(fact)
    try:
        _add(sink, [decode(line)])  # the journal's form holds no invalid text, which may have been all that was wrong
    except Exception as error:
        if not is_refusal(error):
            raise
        warnings.once("refused", "the store refused a record; it is kept in a .bad file beside the journal", error)
        if folder is not None:
            _keep_aside(folder, line, warnings)
        return False
    return True


def _add(sink: Sink, facts: Sequence[Call | RunFact]) -> None:
    calls = [fact for fact in facts if isinstance(fact, Call)]
    sink.add(calls, [fact for fact in facts if isinstance(fact, RunFact)])


def is_refusal(error: Exception) -> bool:
    """Tell whether a sink refused a value, so that the same facts would never get in."""
    return any(kind.__name__ == "RowError" for kind in type(error).__mro__)


def _keep_aside(folder: Path, line: bytes, warnings: Warnings) -> None:
    """Keep a line that no store will take in the `.bad` file beside the journal."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "refused.bad").open("ab") as file:
            file.write(line.rstrip(b"\n") + b"\n")
    except OSError as error:
        warnings.once("bad file", "a refused record could not be kept in a .bad file", error)
