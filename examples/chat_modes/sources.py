"""What does the assistant know? A bicycle shop's documents, notes, sales file and order table, made by the example."""

from __future__ import annotations

import csv
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ("DOCUMENTS", "Orders", "Sources", "make_sources")

DOCUMENTS: Mapping[str, str] = {
    "reorder-policy": "Reorder a bicycle when fewer than 20 are in stock, and order at most 40 at once. "
    "A reorder above 15,000 USD needs the owner's signature.",
    "returns": "Customers may return an unused bicycle within 30 days. The shop pays for the way back.",
    "warranty": "Frames have a warranty of ten years, parts of two years. Wear is not covered.",
    "service": "The first service is free within 100 days after the purchase. It takes one working day.",
    "delivery": "Bicycles are delivered ready to ride within five working days. Cargo bikes take ten.",
    "opening-hours": "The shop is open from Tuesday to Saturday, from 10 to 18 o'clock.",
}
_NOTES: Mapping[str, str] = {
    "city-bike.txt": "Spring campaign starts in March. We want 30 city bikes in the window by then.",
    "cargo-bike.txt": "Two customers wait for the cargo bike with the long box.",
}
_SALES = (
    ("month", "product", "sold"),
    *(("2026-08", "city bike", 14), ("2026-09", "city bike", 11), ("2026-10", "city bike", 17)),
    *(("2026-08", "cargo bike", 3), ("2026-09", "cargo bike", 5), ("2026-10", "cargo bike", 4)),
)
_ORDERS = (("city bike", 4, "open"), ("city bike", 2, "open"), ("cargo bike", 2, "open"), ("city bike", 1, "sent"))


class Orders:
    """The order table, in memory; it is only read. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.execute("CREATE TABLE orders (product TEXT, quantity INTEGER, status TEXT)")
        self._connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", _ORDERS)
        self._connection.commit()
        self._connection.execute("PRAGMA query_only = ON")

    def execute(self, query: str) -> list[tuple[Any, ...]]:
        """Return a query's rows.

        Raises:
            sqlite3.Error: when the query is wrong, or would write.

        """
        with self._lock:
            return self._connection.execute(query).fetchall()

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the agents look."""

    folder: Path
    """Notes and the sales file."""
    documents: Mapping[str, str] = field(default_factory=lambda: DOCUMENTS)
    orders: Orders = field(default_factory=Orders)


def make_sources(folder: Path) -> Sources:
    """Write the shop's files into a folder, and make its order table."""
    (folder / "notes").mkdir(parents=True)
    for name, text in _NOTES.items():
        (folder / "notes" / name).write_text(text, encoding="utf-8")
    with (folder / "sales.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(_SALES)
    return Sources(folder=folder)
