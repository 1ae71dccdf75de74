"""How do calls get into a file that other tools read? Into Parquet, to the last digit, and whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from langchain_tokens.call import Call
from langchain_tokens.errors import MissingExtraError, QueryError, StoreError
from langchain_tokens.syncing import sync_file, sync_folder
from langchain_tokens.usage import TokenUsage

__all__ = ("BATCH", "COLUMNS", "CallFile", "Parts", "require_goal")

BATCH = 5_000
"""Calls that are held in memory at a time; a group of rows in the file."""
_SUFFIX = ".parquet"
_TEXT = (
    "call_id run_id parent_run_id session chain agent path node mode model requested_model provider user message_id "
    "status error_type error_message attempt_error retry_kind finish_reason usage_source price_status price_source "
    "price_version priced_provider priced_model service_tier prompt_mark"
)
_COUNT = (
    "step attempt revision input_tokens output_tokens total_tokens cache_read_tokens cache_write_tokens "
    "cache_write_5m_tokens cache_write_1h_tokens reasoning_tokens audio_input_tokens audio_output_tokens"
)
_MONEY = "cost_usd input_cost_usd output_cost_usd other_cost_usd saved_cost_usd computed_cost_usd"
_JSON = (
    "tags tool_calls other_units raw_usage saved_usage estimate_basis usage_flags unit_prices price_context "
    "price_flags input_parts"
)
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(_TEXT.split(), "text"),
    **dict.fromkeys(("started_at", "ended_at"), "moment"),
    **dict.fromkeys(("duration_ms", "time_to_first_token_ms", "tokens_per_second"), "number"),
    **dict.fromkeys(_COUNT.split(), "count"),
    **dict.fromkeys(_MONEY.split(), "money"),
    **dict.fromkeys(("streamed", "superseded"), "truth"),
    **dict.fromkeys(_JSON.split(), "json"),
}
"""Column → kind. The names are those of `Call` and `TokenUsage`, in the order of the file; unknown is null."""
_USAGE = frozenset(item.name for item in dataclasses.fields(TokenUsage))
_NULL_IF_EMPTY = ("tags", "tool_calls", "usage_flags", "price_flags")
_UNKNOWN = TokenUsage()


def require_goal(path: str | Path) -> Path:
    """Check where calls are to be written, before anything else is done.

    Args:
        path: a file that is not there yet, in a folder that is; its name ends with `.parquet`.

    Raises:
        QueryError: for another ending.
        MissingExtraError: without pyarrow.
        StoreError: for a file that is there already, or a folder that is not.

    """
    goal = Path(path).expanduser().absolute()
    if goal.suffix.lower() != _SUFFIX:
        raise QueryError(f"{str(path)!r} does not end with {_SUFFIX}, the only kind of file that calls are exported to")
    _pyarrow()
    if not goal.parent.is_dir():
        raise StoreError(f"{goal} is in a folder that does not exist; make {goal.parent} first")
    _refuse_to_overwrite(goal)
    return goal


class CallFile:
    """A Parquet file in the making; it gets its name when all is written and on the device, or not at all.

    The block in which it is open raises `StoreError` when the file cannot be written; nothing is left of it then.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = require_goal(path)
        self.calls = 0
        """How many calls were written."""

    def __enter__(self) -> Self:
        """Begin; under another name beside it."""
        parquet = _pyarrow().parquet
        with _translated(self.path):
            self._descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f"{self.path.name}.", suffix=".part")
            self._part = Path(name)
            self._file = os.fdopen(self._descriptor, "wb")
        self._writer: Any = parquet.ParquetWriter(self._file, _schema(), compression="zstd")
        return self

    def write(self, calls: Sequence[Call]) -> None:
        """Add calls, as one group of rows."""
        if calls:
            with _translated(self.path):
                table = _table(calls)
            self.write_table(table)

    def write_table(self, table: Any) -> None:
        """Add rows of the same columns."""
        with _translated(self.path):
            self._writer.write_table(table)
        self.calls += table.num_rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the file its name, unless the block failed."""
        try:
            with _translated(self.path):
                self._finish(is_whole=kind is None)
        finally:
            self._part.unlink(missing_ok=True)

    def _finish(self, *, is_whole: bool) -> None:
        with self._file:
            if not is_whole:
                with suppress(OSError):  # the first error is the one to tell
                    self._writer.close()
                return
            self._writer.close()
            self._file.flush()
            sync_file(self._descriptor)
        _refuse_to_overwrite(self.path)
        self._part.replace(self.path)
        sync_folder(self.path.parent)


class Parts:
    """Files beside one in the making, each with the calls of one transaction that deletes them.

    A transaction ends only when its part is on the device: so whatever is interrupted, each call is in the database or
    in a part, and who begins again goes on after the last part.
    """

    def __init__(self, path: str | Path) -> None:
        self.goal = require_goal(path)
        self.folder = self.goal.with_name(f"{self.goal.name}.parts")

    def drop_unneeded(self, are_stored: Callable[[Sequence[str]], bool]) -> None:
        """Drop the last part where its transaction failed, so that all its calls are still stored.

        Args:
            are_stored: tells whether all calls of these ids are.

        """
        for path in self._paths()[-1:]:
            with _translated(path), _pyarrow().parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=BATCH, columns=["call_id"])
                is_needed = not all(are_stored(batch.column(0).to_pylist()) for batch in batches)
            if not is_needed:
                path.unlink()

    def add(self, batches: Iterable[Sequence[Call]]) -> int:
        """Write a part.

        Returns:
            How many calls it has; without any, it is not made.

        """
        with _translated(self.folder):
            self.folder.mkdir(exist_ok=True)
            sync_folder(self.folder.parent)
        number = 1 + max((int(path.stem) for path in self._paths()), default=0)
        with CallFile(self.folder / f"{number:06}{_SUFFIX}") as file:
            for batch in batches:
                file.write(batch)
        if not file.calls:
            file.path.unlink()
        return file.calls

    def join(self) -> Path | None:
        """Put all parts together to the file that was asked for, and drop them; None where there are none."""
        paths = self._paths()
        if paths:
            with CallFile(self.goal) as file:
                for path in paths:
                    for table in _tables(path):
                        file.write_table(table)
            for path in paths:
                path.unlink()
        with suppress(OSError):  # it is not there, or somebody keeps something there
            self.folder.rmdir()
        return self.goal if paths else None

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _tables(path: Path) -> Iterator[Any]:
    with _translated(path), _pyarrow().parquet.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def _table(calls: Sequence[Call]) -> Any:
    arrays = [_values(calls, name, kind) for name, kind in COLUMNS.items()]
    pyarrow = _pyarrow()
    typed = [pyarrow.array(values, field.type) for values, field in zip(arrays, _schema(), strict=True)]
    return pyarrow.Table.from_arrays(typed, schema=_schema())


def _values(calls: Sequence[Call], name: str, kind: str) -> list[Any]:
    if name in _USAGE:
        values = [getattr(call.usage or _UNKNOWN, name) for call in calls]
    else:
        values = [getattr(call, name) for call in calls]
    if name in _NULL_IF_EMPTY:
        values = [value or None for value in values]
    return [None if value is None else _json(value) for value in values] if kind == "json" else values


def _schema() -> Any:
    pyarrow = _pyarrow()
    types = {
        "text": pyarrow.string(),
        "moment": pyarrow.timestamp("us", tz="UTC"),
        "number": pyarrow.float64(),
        "count": pyarrow.int64(),
        "money": pyarrow.decimal128(38, 12),
        "truth": pyarrow.bool_(),
        "json": pyarrow.string(),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, default=_stand_in).decode()
    except TypeError:  # text with half a surrogate pair, numbers beyond 64 bits
        return json.dumps(value, default=_stand_in)


def _stand_in(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value) if isinstance(value, TokenUsage) else dict(value)


def _pyarrow() -> Any:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'langchain_tokens[export]'") from error
    return pyarrow


def _refuse_to_overwrite(goal: Path) -> None:
    if goal.exists():
        raise StoreError(f"{goal} is there already, and was left as it is; name another file")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The errors of files and of pyarrow in our own words."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} could not be written or read: {error.strerror or error}") from error
    except (_pyarrow().ArrowException, OverflowError) as error:
        raise StoreError(f"{path} could not be written or read: {str(error).splitlines()[0]}") from error
