"""How is a frozen record made without losing time? By way of a twin class that is not frozen.

A frozen dataclass sets each of its fields through a function call. A record of sixty fields takes four times as long as
it would if it were not frozen, and records are made while the host waits. Here they are filled in a twin that has the
same fields, which then becomes the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, make_dataclass
from operator import attrgetter
from typing import Any, TypeVar, cast

__all__ = ("changer", "maker")

Record = TypeVar("Record")


def maker(record: type[Record]) -> Callable[..., Record]:
    """What makes records as the class itself does, from keyword arguments.

    Args:
        record: a frozen dataclass with slots, and nothing to do after a record was filled in.

    """

    def become(draft: Any) -> None:
        draft.__class__ = record

    return cast("Callable[..., Record]", _twin(record, __post_init__=become))


def changer(record: type[Record]) -> Callable[..., Record]:
    """A function that does what `dataclasses.replace` does with a record of this class."""
    twin, values_of = _twin(record), attrgetter(*(item.name for item in fields(cast("Any", record))))

    def change(before: Record, **changes: Any) -> Record:
        draft = twin(*values_of(before))
        for name, value in changes.items():
            setattr(draft, name, value)
        draft.__class__ = record
        return cast("Record", draft)

    return change


def _twin(record: type[Any], **methods: Callable[..., None]) -> Callable[..., Any]:
    columns = [(item.name, Any, _with_default(item)) for item in fields(record)]
    return make_dataclass(f"{record.__name__}Draft", columns, namespace=methods, slots=True, eq=False, repr=False)


def _with_default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    return field() if item.default is MISSING else field(default=item.default)
