"""Is it stored already? Calls that are new are added; those whose id or answer is there are counted, and left alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from langchain_tokens.call import Call, RunFact, bounded_call, bounded_fact
from langchain_tokens.importing.imported import Tally
from langchain_tokens.render import counted
from langchain_tokens.store.engine import RowError
from langchain_tokens.store.existing import Existing
from langchain_tokens.store.importable import PrunedError, add_importable

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Found", "Storing")

_REMEMBERED: Final = 100_000
"""Runs that are remembered as made by this import; in the order of time, a run's calls are near each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a row holds: a call with what it says of its run, or a run."""

    row: int
    call: Call | None = None
    fact: RunFact | None = None
    run: RunFact | None = None
    is_own: bool = False


class Storing:
    """Adds to a store what it has not yet.

    Args:
        store: where to.
        price: prices a call; not done to our own, which are as they were.
        is_dry_run: whether nothing is added.

    """

    def __init__(self, store: UsageStore, price: Callable[[Call], Call], *, is_dry_run: bool) -> None:
        self.tally = Tally()
        self._store = store
        self._price = price
        self._is_dry_run = is_dry_run
        self._made: OrderedDict[str, None] = OrderedDict()
        self._seen: set[int] = set()
        """Of a dry run: what would be stored by now."""

    def add(self, batch: Sequence[Found], *, derives_runs: bool) -> None:
        """Add what is new of a batch, in one transaction.

        Args:
            batch: what rows hold.
            derives_runs: whether runs are made from what calls say of them.

        """
        batch = [_bounded(found) for found in batch]
        calls = [found.call for found in batch if found.call is not None]
        runs = [found.run for found in batch if found.run is not None]
        existing = self._store.existing(calls, [run.run_id for run in runs])
        new = self._new(batch, existing)
        missing = {run.run_id: run for run in runs if run.run_id not in existing.run_ids}
        facts = [*missing.values(), *(self._facts(new, existing) if derives_runs else ())]
        self.tally.runs += len(missing)
        if not self._is_dry_run and (new or facts):
            self._write(new, facts)

    def _new(self, batch: Sequence[Found], existing: Existing) -> list[Found]:
        """The calls that are to be added, priced."""
        chosen: dict[str, Found] = {}
        answers = set(existing.message_ids)
        for found in batch:
            if found.call is None:
                continue
            call = found.call
            if self._is_there(found, existing, chosen, answers):
                self.tally.there += 1
                continue
            if call.call_id in existing.revisions or call.call_id in chosen:
                self.tally.corrected += 1
            else:
                self.tally.stored += 1
            if call.message_id is not None and call.status != "cached":
                answers.add(call.message_id)
            chosen[call.call_id] = found
            self._note(call)
        return list(chosen.values())

    def _is_there(self, found: Found, existing: Existing, chosen: dict[str, Found], answers: set[str]) -> bool:
        call = found.call
        if call is None:
            return False
        before = chosen.get(call.call_id)
        revision = existing.revisions.get(call.call_id)
        if before is not None and before.call is not None:
            revision = before.call.revision
        if revision is not None:
            return not found.is_own or call.revision <= revision
        if self._is_dry_run and hash(call.call_id) in self._seen:
            return True
        has_answer = call.message_id in answers or (self._is_dry_run and hash(call.message_id) in self._seen)
        # Our own calls share an answer where a cache gave it again; elsewhere the same answer is the same call.
        return not found.is_own and call.message_id is not None and has_answer and call.status != "cached"

    def _note(self, call: Call) -> None:
        if self._is_dry_run:
            self._seen.update(hash(text) for text in (call.call_id, call.message_id) if text is not None)

    def _facts(self, new: Sequence[Found], existing: Existing) -> list[RunFact]:
        """What calls say of their runs. A run that was seen itself knows better than its exported calls do."""
        facts = []
        for found in new:
            fact = found.fact
            if fact is None or (found.is_own and fact.run_id in existing.run_ids and fact.run_id not in self._made):
                continue
            self._made[fact.run_id] = None
            self._made.move_to_end(fact.run_id)
            facts.append(fact)
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return facts

    def _write(self, new: Sequence[Found], facts: Sequence[RunFact]) -> None:
        calls = [self._priced(found) for found in new]
        try:
            add_importable(self._store, calls, facts)
        except RowError:
            self._write_singly(new, calls, facts)
        except PrunedError as error:
            before = self.tally.stored + self.tally.corrected - len(new)
            raise PrunedError(f"{error}; {_said_before(before)}") from error

    def _write_singly(self, new: Sequence[Found], calls: Sequence[Call], facts: Sequence[RunFact]) -> None:
        """Store what the database takes, where it refuses something of a batch."""
        refused: set[str] = set()
        for found, call in zip(new, calls, strict=True):
            try:
                add_importable(self._store, [call])
            except RowError as error:
                self.tally.stored -= 1
                self.tally.refuse(found.row, str(error))
                refused.add(call.run_id)
        for fact in facts:
            try:
                self._store.add([], [fact])
            except RowError as error:
                if fact.run_id not in refused:
                    self.tally.refuse(0, f"the run {fact.run_id!r}: {error}")

    def _priced(self, found: Found) -> Call:
        assert found.call is not None  # noqa: S101  # of `_new`
        return found.call if found.is_own else self._price(found.call)


def _said_before(stored: int) -> str:
    first = "nothing was stored" if not stored else f"{counted(stored, 'call')} before that are stored"
    return f"{first}. Import what started from then on, or into another database"


def _bounded(found: Found) -> Found:
    """With names that every database can hold in its keys."""
    call, run, fact = found.call, found.run, found.fact
    return replace(
        found,
        call=None if call is None else bounded_call(call),
        run=None if run is None else bounded_fact(run),
        fact=None if fact is None else bounded_fact(fact),
    )
