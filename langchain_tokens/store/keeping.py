"""How is what was found out kept, beside those who write? Where nobody else may change it meanwhile, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

from langchain_tokens.errors import StoreError
from langchain_tokens.store.engine import writing_hastily
from langchain_tokens.store.settledtables import SETTLED
from langchain_tokens.store.target import StoreTarget

__all__ = ("is_read_only", "keep_each")

Piece = TypeVar("Piece")


def is_read_only(connection: Connection) -> bool:
    """Whether a server lets nobody write, or not us: to try it would cost the connection. So does one that copies."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on")


def keep_each(
    engine: Engine, target: StoreTarget, pieces: Iterable[Piece], write: Callable[[Connection, Piece], None]
) -> None:
    """Keep one piece after another, each in a transaction; none after the first that cannot be kept.

    Args:
        engine: the database's.
        target: the database, for errors.
        pieces: what is to be found out.
        write: finds a piece out and keeps it.

    """
    for piece in pieces:
        try:
            with writing_hastily(engine, target) as connection:
                if (
                    connection.dialect.name == "postgresql"
                ):  # waits for all who change calls or runs, and lets them wait
                    connection.execute(text(f"LOCK TABLE {SETTLED.name} IN SHARE ROW EXCLUSIVE MODE"))
                write(connection, piece)
        except StoreError:  # nobody may write here, or somebody else writes for longer than a reader waits
            return
