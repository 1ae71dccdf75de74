"""How do calls get into a file that other tools read? To the last digit, a few at a time, and whole or not at all."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from langchain_tokens.call import Call, RunFact
from langchain_tokens.columns import COLUMNS, json_text, value_of
from langchain_tokens.errors import MissingExtraError, QueryError, StoreError
from langchain_tokens.syncing import sync_folder
from langchain_tokens.textfiles import TEXT_FORMATS, CallWriter
from langchain_tokens.wholefile import WholeFile, refuse_to_overwrite, require_folder
from langchain_tokens.wholefile import translated as _file_errors

__all__ = (
    "BATCH",
    "COLUMNS",
    "FORMATS",
    "CallFile",
    "Goal",
    "Parts",
    "make_goal",
    "pyarrow_module",
    "writing_into",
    "writing_to",
)

BATCH = 5_000
"""Calls that are held in memory at a time; a group of rows in a Parquet file."""
FORMATS = ("parquet", *TEXT_FORMATS)
"""The kinds of file, by the ending of their names."""
_SUFFIX = ".parquet"
_GZIP = ".gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Where calls are to be written, and how; checked."""

    path: Path
    format: str
    is_compressed: bool = False
    may_replace: bool = False


def make_goal(path: str | Path, format: str | None = None, *, may_replace: bool = False) -> Goal:  # noqa: A002  # the usual word
    """Check where calls are to be written, before anything else is done.

    Args:
        path: a file in a folder that is there. Its ending says what kind of file it is: one of `FORMATS`, the text ones
            also with `.gz` behind, which compresses them.
        format: one of `FORMATS`, whatever the ending is.
        may_replace: whether a file that is there is replaced.

    Raises:
        QueryError: for another ending or format.
        MissingExtraError: for Parquet without pyarrow.
        StoreError: for a file that is there already, or a folder that is not.

    """
    name = Path(path).name.lower()
    is_compressed = name.endswith(_GZIP)
    said = format or Path(name.removesuffix(_GZIP)).suffix.removeprefix(".")
    if said not in FORMATS:
        found = f"format={format!r}" if format else f"the ending of {str(path)!r}"
        raise QueryError(f"{found} is no kind of file that calls are exported to; expected one of {', '.join(FORMATS)}")
    if said == "parquet" and is_compressed:
        raise QueryError(f"{str(path)!r}: Parquet is compressed by itself; leave {_GZIP} away")
    if said == "parquet":
        pyarrow_module()
    goal = require_folder(path, may_replace=may_replace)
    return Goal(path=goal, format=said, is_compressed=is_compressed, may_replace=may_replace)


@contextmanager
def writing_to(goal: Goal) -> Iterator[CallWriter]:
    """A file in the making; it gets its name when the block ends well, and nothing is left of it otherwise.

    Raises:
        StoreError: when it cannot be written.

    """
    whole = WholeFile(goal.path, may_replace=goal.may_replace)
    with (
        whole,
        _translated(goal.path),
        writing_into(whole.file, goal.format, is_compressed=goal.is_compressed) as writer,
    ):
        yield writer


@contextmanager
def writing_into(file: IO[bytes], format: str, *, is_compressed: bool = False) -> Iterator[CallWriter]:  # noqa: A002  # the usual word
    """The same into a file that somebody else has opened, such as standard output."""
    if is_compressed:
        packed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0)
        with packed, writing_into(cast("IO[bytes]", packed), format) as writer:
            yield writer
        return
    writer = _Parquet(file) if format == "parquet" else TEXT_FORMATS[format](file)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.finish()


class CallFile:
    """A Parquet file in the making; it gets its name when all is written and on the device, or not at all.

    The block in which it is open raises `StoreError` when the file cannot be written; nothing is left of it then.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _parquet_goal(path)
        self.calls = 0
        """How many calls were written."""

    def __enter__(self) -> Self:
        """Begin; under another name beside it."""
        self._whole = WholeFile(self.path).__enter__()
        self._writer = _Parquet(self._whole.file)
        return self

    def write(self, calls: Sequence[Call]) -> None:
        """Add calls, as one group of rows."""
        with _translated(self.path):
            self._writer.write(calls)
        self.calls += len(calls)

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
                if kind is None:
                    self._writer.finish()
                else:
                    self._writer.abandon()
        except BaseException as failure:
            self._whole.__exit__(type(failure), failure, None)
            raise
        self._whole.__exit__(kind, error, traceback)


class Parts:
    """Files beside one in the making, each with the calls of one transaction that deletes them.

    A transaction ends only when its part is on the device: so whatever is interrupted, each call is in the database or
    in a part, and who begins again goes on after the last part. Parts may be left beside the file that they were joined
    to: then they are dropped, and no more calls go into that file.
    """

    def __init__(self, path: str | Path) -> None:
        self.goal = _parquet_goal(path, may_replace=True)
        self.folder = self.goal.with_name(f"{self.goal.name}.parts")
        if not self._are_joined():
            refuse_to_overwrite(self.goal)

    @property
    def is_begun(self) -> bool:
        """Whether there are parts that somebody was interrupted with, so that `join` is to be called."""
        return bool(self._paths())

    def drop_unneeded(self, are_stored: Callable[[Sequence[str]], bool]) -> None:
        """Drop the last part where its transaction failed, so that all its calls are still stored.

        Args:
            are_stored: tells whether all calls of these ids are.

        """
        for path in self._paths()[-1:]:
            with _translated(path), pyarrow_module().parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=BATCH, columns=["call_id"])
                is_needed = not all(are_stored(batch.column(0).to_pylist()) for batch in batches)
            if not is_needed:
                path.unlink()

    def add(self, batches: Iterable[Sequence[Call]]) -> int:
        """Write a part.

        Returns:
            How many calls it has; without any, it is not made.

        """
        if self._are_joined():
            self.join()
        refuse_to_overwrite(self.goal)
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
        if paths and not self._are_joined():
            with CallFile(self.goal) as file:
                for path in paths:
                    for table in _tables(path):
                        file.write_table(table)
        for path in paths:  # the last one last, by which the file is known again
            path.unlink()
        with suppress(OSError):  # it is not there, or somebody keeps something there
            self.folder.rmdir()
        return self.goal if paths else None

    def _are_joined(self) -> bool:
        """Whether the file is there and has the calls of all parts: it is made at once, and ends with the last part."""
        paths = self._paths()
        return bool(paths) and self.goal.exists() and _last_ids(self.goal) == _last_ids(paths[-1])

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _tables(path: Path) -> Iterator[Any]:
    with _translated(path), pyarrow_module().parquet.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def _last_ids(path: Path) -> Sequence[str]:
    """The ids of the last group of calls in a file."""
    with _translated(path), pyarrow_module().parquet.ParquetFile(path) as file:
        if not file.num_row_groups:
            return []
        last: Any = file.read_row_group(file.num_row_groups - 1, columns=["call_id"]).to_pydict()
    return cast("Sequence[str]", last.get("call_id", []))


class _Parquet:
    """Rows of the types that the columns have, in groups."""

    holds_runs = False

    def __init__(self, file: IO[bytes]) -> None:
        self._writer: Any = pyarrow_module().parquet.ParquetWriter(file, _schema(), compression="zstd")

    def write(self, calls: Sequence[Call]) -> None:
        if calls:
            self.write_table(_table(calls))

    def write_table(self, table: Any) -> None:
        self._writer.write_table(table)

    def write_runs(self, runs: Sequence[RunFact]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        with suppress(OSError):  # the first error is the one to tell
            self._writer.close()


def _parquet_goal(path: str | Path, *, may_replace: bool = False) -> Path:
    if Path(path).suffix.lower() != _SUFFIX:
        raise QueryError(f"{str(path)!r} does not end with {_SUFFIX}; here calls go into Parquet alone")
    return make_goal(path, may_replace=may_replace).path


def _table(calls: Sequence[Call]) -> Any:
    pyarrow, schema = pyarrow_module(), _schema()
    arrays = [
        pyarrow.array([_value(call, name, kind) for call in calls], field.type)
        for (name, kind), field in zip(COLUMNS.items(), schema, strict=True)
    ]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _value(call: Call, name: str, kind: str) -> Any:
    value = value_of(call, name)
    return json_text(value) if kind == "json" and value is not None else value


def _schema() -> Any:
    pyarrow = pyarrow_module()
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


def pyarrow_module() -> Any:
    """The library that reads and writes Parquet.

    Raises:
        MissingExtraError: where it is not installed.

    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'langchain_tokens[export]'") from error
    return pyarrow


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The errors of files and of pyarrow in our own words."""
    try:
        with _file_errors(path):
            yield
    except Exception as error:
        if not isinstance(error, _file_values()):
            raise
        raise StoreError(f"{path} could not be written or read: {str(error).splitlines()[0]}") from error


def _file_values() -> tuple[type[Exception], ...]:
    """What is raised for a value that no file can hold; pyarrow's errors, where it is in use."""
    pyarrow = sys.modules.get("pyarrow")
    return (OverflowError,) if pyarrow is None else (OverflowError, pyarrow.ArrowException)
