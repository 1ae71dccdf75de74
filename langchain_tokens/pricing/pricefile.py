"""How is a price written by hand? TOML, JSON or mappings of one schema → checked entries; what is wrong is named.

    [[prices]]
    provider = "openai"            # LangChain's name or the catalogue's; left out: any
    model = "gpt-5"                # or pattern = "gpt-5*"; aliases = ["my-deployment"]
    effective_from = 2026-01-01    # and effective_to: a date or a time, UTC where no zone is said
    input = "1.00"                 # USD for one million tokens, as text; also output, cache_read, cache_write,
    output = "8.00"                # cache_write_1h, audio_in, audio_out, reasoning, citation
    request_per_1k = "5"           # USD for one thousand; also web_search_per_1k, file_search_per_1k
    tiers = [{ above = 200000, input = "2.00", output = "12.00" }]

In place of rates an entry can say `free = true`, or `multiplier = "0.85"` for what the catalogue says.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from langchain_tokens.errors import PriceError
from langchain_tokens.pricing.pricelist import Entry
from langchain_tokens.pricing.rates import Rates, Steps, make_rates
from langchain_tokens.pricing.resolve import canonical, tier_context

__all__ = ("read_entries", "read_entry", "read_file")

_RATES: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_in": "input_audio_mtok",
    "audio_out": "output_audio_mtok",
    "audio_cache_read": "cache_audio_read_mtok",
    "reasoning": "output_reasoning_mtok",
    "citation": "output_citation_mtok",
    "request_per_1k": "requests_kcount",
    "web_search_per_1k": "web_searches_kcount",
    "file_search_per_1k": "storage_searches_kcount",
}
"""Name in a file → name of the rate."""
_KINDS: Final = ("input", "free", "multiplier", "unpriced", "price_at_hour")
"""What an entry says, one of them; the last two are for corrections of the catalogue."""
_WHICH: Final = ("provider", "model", "pattern", "aliases", "effective_from", "effective_to")
_OTHERS: Final = ("tiers", "service_tier", "weekdays", "utc_offset", "flags", "note", "url", "id", "remove_when")
_KNOWN: Final = frozenset((*_RATES, *_KINDS, *_WHICH, *_OTHERS))
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DECIMALS: Final = 18
_HEADER: Final = re.compile(r"^\s*\[\[\s*prices\s*\]\]")


def read_file(path: Path) -> list[Entry | PriceError]:
    """The entries of a file of prices, with an error in the place of each that is wrong.

    Args:
        path: a `.json` file, or TOML.

    Raises:
        PriceError: when there is no such file, or it is not TOML or JSON, or has no list `prices`.

    """
    try:
        text = path.read_text(encoding="utf-8")
        held = (
            json.loads(text, parse_float=str)
            if path.suffix.lower() == ".json"
            else tomllib.loads(text, parse_float=str)
        )
    except FileNotFoundError:
        raise PriceError(f"there is no file of prices at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path} cannot be read as a file of prices: {error}") from error
    except ValueError as error:
        raise PriceError(f"{path} is neither TOML nor JSON that can be read: {error}") from error
    rows = held.get("prices") if isinstance(held, dict) else held
    if not isinstance(rows, list):
        found = f"the keys {sorted(held)}" if isinstance(held, dict) else type(held).__name__
        raise PriceError(f"{path} has {found}, expected a list of [[prices]]")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    places = [f" (line {lines[index]})" if len(lines) == len(rows) else "" for index in range(len(rows))]
    return [
        _checked(row, path.name, index, place) for index, (row, place) in enumerate(zip(rows, places, strict=True), 1)
    ]


def read_entries(rows: Iterable[Any], origin: str) -> list[Entry | PriceError]:
    """The entries of mappings, with an error in the place of each that is wrong; `origin` says where they are from."""
    return [_checked(row, origin, index, "") for index, row in enumerate(rows, 1)]


def read_entry(row: Any, origin: str, index: int = 1, place: str = "") -> Entry:
    """One entry, checked.

    Raises:
        PriceError: when something in it is wrong; the text says where, what was found and what was expected.

    """
    try:
        return _entry(row, f"{origin}#{index}")
    except PriceError as error:
        raise PriceError(f"{origin}, entry {index}{place}: {error}") from None


def _checked(row: Any, origin: str, index: int, place: str) -> Entry | PriceError:
    try:
        return read_entry(row, origin, index, place)
    except PriceError as error:
        return error


def _entry(row: Any, name: str) -> Entry:
    if not isinstance(row, Mapping):
        raise PriceError(f"found {type(row).__name__}, expected a table of names and values")
    kind = _kind(row)
    names = _names(row, needed=kind != "multiplier")
    is_rates = kind == "input"
    rates = _rates(row) if is_rates else None
    digest = hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return Entry(
        identity=f"{_text(row, 'id') or name}@{digest}",
        provider=canonical(_text(row, "provider")),
        names=names,
        pattern=_lower(_text(row, "pattern")),
        since=_moment(row, "effective_from"),
        until=_moment(row, "effective_to"),
        when=tier_context(_text(row, "service_tier")),
        rates=rates,
        by_search_size=_by_search_size(row, rates),
        is_free=kind == "free",
        is_unpriced=kind == "unpriced",
        multiplier=_number(row["multiplier"], "multiplier") if kind == "multiplier" else None,
        price_at_hour=_whole(row, "price_at_hour", 23) if kind == "price_at_hour" else None,
        weekdays=frozenset(_DAYS.index(day) for day in _words(row, "weekdays", _DAYS)),
        utc_offset=0 if "utc_offset" not in row else _whole(row, "utc_offset", 14),
        flags=_words(row, "flags"),
    )


def _kind(row: Mapping[str, Any]) -> str:
    unknown = [str(key) for key in row if key not in _KNOWN]
    if unknown:
        from difflib import get_close_matches

        close = get_close_matches(unknown[0], sorted(_KNOWN), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f", expected one of {', '.join(sorted(_KNOWN))}"
        raise PriceError(f"found the unknown key {unknown[0]!r}{hint}")
    said = [kind for kind in _KINDS if kind in row]
    if len(said) != 1:
        found = " and ".join(said) if said else "none of them"
        raise PriceError(f"found {found}, expected one of input, free, multiplier")
    if said[0] in ("free", "unpriced") and row[said[0]] is not True:
        raise PriceError(f"found {said[0]} = {row[said[0]]!r}, expected true")
    return said[0]


def _names(row: Mapping[str, Any], *, needed: bool) -> tuple[str, ...]:
    model = _text(row, "model")
    names = (*(() if model is None else (model,)), *_words(row, "aliases"))
    if needed and not names and _text(row, "pattern") is None:
        raise PriceError("found neither model nor pattern, expected one of them")
    if not needed and _text(row, "provider") is None:
        raise PriceError("found a multiplier without provider, expected the provider that it is for")
    return tuple(dict.fromkeys(name.lower() for name in names))


def _rates(row: Mapping[str, Any]) -> Rates:
    if "output" not in row:
        raise PriceError("found input without output, expected both")
    if "cache_write_1h" in row and "cache_write" not in row:
        raise PriceError("found cache_write_1h without cache_write, expected both")
    steps: dict[str, Steps] = {}
    for key, rate in _RATES.items():
        if key in row and not isinstance(row[key], Mapping):
            tiers = [(above, _number(tier[key], key)) for above, tier in _tiers(row) if key in tier]
            steps[rate] = [(-1, _number(row[key], key)), *tiers]
    if "audio_in" in row and "cache_read" in row and "audio_cache_read" not in row:
        steps["cache_audio_read_mtok"] = steps["cache_read_mtok"]
    return make_rates(steps)


def _tiers(row: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The tiers, with the input tokens above which each holds, ascending."""
    rows = row.get("tiers", [])
    if not isinstance(rows, list) or not all(isinstance(tier, Mapping) for tier in rows):
        raise PriceError(f"found tiers = {rows!r}, expected a list of tables such as {{above = 200000, input = '2'}}")
    for tier in rows:
        strange = [key for key in tier if key != "above" and (key not in _RATES or key not in row)]
        if strange:
            raise PriceError(f"found {strange[0]!r} in tiers, expected above and rates that the entry has")
    return sorted(((_whole(tier, "above"), tier) for tier in rows), key=lambda pair: pair[0])


def _by_search_size(row: Mapping[str, Any], rates: Rates | None) -> dict[str, Rates]:
    """The rates by size of the search context, where the fee for a request depends on it."""
    fees = row.get("request_per_1k")
    if rates is None or not isinstance(fees, Mapping):
        return {}
    if "low" not in fees:
        raise PriceError(f"found request_per_1k for {sorted(fees)}, expected low, and others such as medium and high")
    return {
        str(size).lower(): make_rates({**rates.steps, "requests_kcount": [(-1, _number(fee, "request_per_1k"))]})
        for size, fee in fees.items()
    }


def _number(value: Any, key: str) -> Decimal:
    """USD, or a factor: text, or a number by what it looks like."""
    try:
        number = None if isinstance(value, bool) else Decimal(value if isinstance(value, (str, int)) else str(value))
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or number < 0:
        raise PriceError(f"found {key} = {value!r}, expected a number of USD that is not negative, such as '1.25'")
    if int(number.as_tuple().exponent) < -_DECIMALS:
        raise PriceError(f"found {key} = {value!r}, expected at most {_DECIMALS} decimals")
    return number


def _whole(row: Mapping[str, Any], key: str, most: int | None = None) -> int:
    value = row.get(key)
    if type(value) is not int or value < 0 or (most is not None and value > most):
        limit = "" if most is None else f" of at most {most}"
        raise PriceError(f"found {key} = {value!r}, expected a whole number{limit}")
    return value


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise PriceError(f"found {key} = {value!r}, expected text")
    return None if value is None else value.strip()


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _words(row: Mapping[str, Any], key: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = row.get(key, [])
    words = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(word, str) and word.strip() and (not known or word.lower() in known) for word in words):
        raise PriceError(f"found {key} = {value!r}, expected a list of {' / '.join(known) or 'names'}")
    return tuple(word.strip().lower() if known else word.strip() for word in words)


def _moment(row: Mapping[str, Any], key: str) -> datetime | None:
    """The start of a day, or a time of whole minutes; UTC where no zone is said."""
    value = row.get(key)
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is None:
        return None
    if not isinstance(value, datetime) or value.second or value.microsecond:
        raise PriceError(f"found {key} = {row[key]!r}, expected a date such as 2026-01-31, or a time of whole minutes")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
