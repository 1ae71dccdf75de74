"""Which test used how much, and more than before? A report as table and JSON, and what grew beyond a baseline."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from langchain_tokens.errors import TokensError
from langchain_tokens.money import sum_of
from langchain_tokens.render import UNKNOWN, Table, text_table

__all__ = ("Spent", "growth", "parse_tolerance", "read_report", "report_table", "require_place", "write_report")

_FORM = 1
_MOST_ROWS = 50
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_EXPECTED = "expected a file that --token-report=FILE wrote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one test used; a sum covers the calls that know the number, None where none does."""

    calls: int = 0
    failed_calls: int = 0
    estimated_calls: int = 0
    calls_without_usage: int = 0
    unpriced_calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: Decimal | None = None

    @classmethod
    def of(cls, row: Any) -> Spent:
        """What a row of a breakdown says."""
        return cls(**{item.name: getattr(row, item.name) for item in fields(cls)})

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Spent:
        """Read what `to_plain` wrote.

        Raises:
            ValueError: for anything else.

        """
        counts = {item.name: values[item.name] for item in fields(cls)}
        cost = counts.pop("cost_usd")
        if not all(type(count) is int or (count is None and "tokens" in name) for name, count in counts.items()):
            raise ValueError("a count is no whole number")
        return cls(**counts, cost_usd=None if cost is None else Decimal(cost))

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able values, money as text."""
        return {**asdict(self), "cost_usd": None if self.cost_usd is None else f"{self.cost_usd.normalize():f}"}


def report_table(spent: Mapping[str, Spent]) -> str:
    """Write the tests that called models as a table, those that used most first (50 at most); "" where none did."""
    used = {test: one for test, one in spent.items() if one.calls}
    if not used:
        return ""
    total = _total(used)
    ranked = sorted(used.items(), key=lambda item: (-(item[1].total_tokens or 0), item[0]))
    rows = [(test, *_numbers(one)) for test, one in ranked[:_MOST_ROWS]]
    hidden = len(ranked[_MOST_ROWS:])
    more = (f"{hidden:,} more tests used less; --token-report=FILE.json has them all",) if hidden else ()
    table = Table(
        headings=("test", "calls", "failed", "input", "output", "total", "cost USD"),
        rows=(*rows, ("total", *_numbers(total))),
        names=1,
        notes=(*more, *_gaps(total)),
    )
    return text_table(table)


def write_report(path: Path, spent: Mapping[str, Spent]) -> None:
    """Write what each test used as JSON; tests that called no model are named, so that a baseline knows them.

    Raises:
        TokensError: where it cannot be written.

    """
    document = {
        "format": _FORM,
        "tests": {test: one.to_plain() for test, one in sorted(spent.items()) if one.calls},
        "without_calls": sorted(test for test, one in spent.items() if not one.calls),
    }
    require_place(path)
    try:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def require_place(path: Path) -> None:
    """Make sure that a report can be written there, as far as can be told without writing it; its folder is made.

    Raises:
        TokensError: where it cannot.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_folder = path.is_dir()
    except OSError as error:
        raise _unwritable(path, error) from error
    if is_folder:
        raise TokensError(f"{path} is a folder; expected a file's name")


def _unwritable(path: Path, error: OSError) -> TokensError:
    return TokensError(f"{path} cannot be written ({error.strerror})")


def read_report(path: Path) -> dict[str, Spent]:
    """Read what `write_report` wrote.

    Raises:
        TokensError: where there is no such file, or it is not one.

    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORM:
            raise TokensError(f"{path} has format {document['format']!r}; this version reads format {_FORM}")
        used = {test: Spent.from_plain(values) for test, values in document["tests"].items()}
        return {**{str(test): Spent() for test in document["without_calls"]}, **used}
    except OSError as error:
        raise TokensError(f"{path} cannot be read ({error.strerror}); {_EXPECTED}") from error
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise TokensError(f"{path} is no report of tokens ({type(error).__name__}: {error}); {_EXPECTED}") from error


def parse_tolerance(text: str) -> Decimal:
    """Read a share such as `10%`.

    Raises:
        TokensError: for anything else.

    """
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise TokensError(f"the tolerance is {text!r}; expected a percentage, such as 10%")
    return Decimal(found[1]) / 100


def growth(before: Mapping[str, Spent], now: Mapping[str, Spent], tolerance: Decimal) -> Iterator[str]:
    """Say where a test uses more than before by more than the tolerance, or no longer says how much.

    Tests that are new or were not run are not compared.
    """
    for test in sorted(before.keys() & now.keys()):
        yield from (f"{test}: {text}" for text in _growth_of(before[test], now[test], tolerance))


def _growth_of(before: Spent, now: Spent, tolerance: Decimal) -> Iterator[str]:
    for what, old, new in (
        ("calls have no usage", before.calls_without_usage, now.calls_without_usage),
        ("calls have no price", before.unpriced_calls, now.unpriced_calls),
    ):
        if new > old:
            yield f"{new:,} of {now.calls:,} {what}, {old:,} in the baseline: the sums cannot be compared"
    for what, was, used in (
        ("tokens", _known(before, before.total_tokens), now.total_tokens),
        ("USD", _known(before, before.cost_usd), now.cost_usd),
    ):
        if was is not None and used is not None and used > was * (1 + tolerance):
            more = f"+{used / was - 1:.1%}" if was else "from nothing"
            yield f"{was.normalize():,f} → {Decimal(used).normalize():,f} {what} ({more})"


def _known(spent: Spent, value: Decimal | int | None) -> Decimal | None:
    """A sum to compare with; a test without calls used nothing, one whose calls do not say is unknown."""
    if value is None:
        return None if spent.calls else Decimal(0)
    return Decimal(value)


def _total(spent: Mapping[str, Spent]) -> Spent:
    sums: dict[str, Any] = {}
    for item in fields(Spent):
        known = [value for one in spent.values() if (value := getattr(one, item.name)) is not None]
        sums[item.name] = None if not known else sum_of(known) if item.name == "cost_usd" else sum(known)
    return Spent(**sums)


def _numbers(spent: Spent) -> tuple[str, ...]:
    tokens = (spent.input_tokens, spent.output_tokens, spent.total_tokens)
    return (
        f"{spent.calls:,}",
        f"{spent.failed_calls:,}",
        *(UNKNOWN if count is None else f"{count:,}" for count in tokens),
        UNKNOWN if spent.cost_usd is None else f"{spent.cost_usd:,.6f}",
    )


def _gaps(total: Spent) -> Iterator[str]:
    for count, what in (
        (total.calls_without_usage, "without complete usage: tokens missing in these sums"),
        (total.unpriced_calls, "without a price: cost not in these sums"),
        (total.estimated_calls, "with estimated tokens"),
    ):
        if count:
            yield f"{count:,} of {total.calls:,} calls {what}"
