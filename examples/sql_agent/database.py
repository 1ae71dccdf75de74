"""What is being asked about? A real SQLite database of a small shop, written once and then only read."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

__all__ = ("ROW_LIMIT", "Shop", "create_shop")

ROW_LIMIT = 200

SCHEMA = """
CREATE TABLE cities (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL
);
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    city_id INTEGER NOT NULL REFERENCES cities (id),
    joined_on TEXT NOT NULL -- YYYY-MM-DD
);
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    list_price INTEGER NOT NULL -- rupees
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    ordered_on TEXT NOT NULL, -- YYYY-MM-DD
    status TEXT NOT NULL CHECK (status IN ('open', 'delivered', 'cancelled'))
);
CREATE TABLE order_items (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL,
    unit_price INTEGER NOT NULL -- rupees, as paid
);
"""

CITIES = (
    ("Mumbai", "Maharashtra"),
    ("Pune", "Maharashtra"),
    ("Delhi", "Delhi"),
    ("Bengaluru", "Karnataka"),
    ("Chennai", "Tamil Nadu"),
    ("Kolkata", "West Bengal"),
    ("Hyderabad", "Telangana"),
    ("Jaipur", "Rajasthan"),
)
FIRST_NAMES = ("Aarav", "Diya", "Ishaan", "Kavya", "Meera", "Nikhil", "Priya", "Rohan")
LAST_NAMES = ("Iyer", "Kapoor", "Menon", "Patil", "Sharma")
PRODUCTS = (
    ("Kettle", "kitchen", 1499),
    ("Toaster", "kitchen", 1899),
    ("Pressure cooker", "kitchen", 2299),
    ("Mixer grinder", "kitchen", 3499),
    ("Tea set", "kitchen", 999),
    ("Desk lamp", "office", 1199),
    ("Office chair", "office", 6499),
    ("Notebook", "office", 149),
    ("Fountain pen", "office", 449),
    ("Headphones", "electronics", 2999),
    ("Power bank", "electronics", 1299),
    ("Phone stand", "electronics", 399),
    ("Yoga mat", "sport", 799),
    ("Cricket bat", "sport", 2499),
    ("Water bottle", "sport", 349),
)
ORDER_COUNT = 60
STATUSES = ("delivered", "delivered", "delivered", "open", "cancelled")
FIRST_DAY = date(2024, 1, 1)
DAYS = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """An SQLite database that is only read.

    Arguments:
        path: The database file; it has to be there.

    """

    path: Path

    def table_names(self) -> list[str]:
        """Return the names of all tables, in the order of the alphabet."""
        with closing(self._connect()) as connection:
            rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            return [name for (name,) in rows if not name.startswith("sqlite_")]

    def describe(self, tables: Iterable[str]) -> str:
        """Return the CREATE TABLE statements of the named tables, as the database itself keeps them.

        A name that the database does not know is left out.
        """
        wanted = set(tables)
        with closing(self._connect()) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            return "\n".join(f"{statement};" for name, statement in rows if name in wanted)

    def with_referenced(self, tables: Iterable[str]) -> list[str]:
        """Return the tables, and those that their foreign keys lead to."""
        found = dict.fromkeys(tables)
        with closing(self._connect()) as connection:
            for table in tuple(found):
                rows = connection.execute("SELECT [table] FROM pragma_foreign_key_list(?)", [table])
                found.update(dict.fromkeys(name for (name,) in rows))
        return list(found)

    def execute(self, query: str) -> list[dict[str, object]]:
        """Run one query and return at most ROW_LIMIT rows, each with its columns by name.

        Raises:
            sqlite3.Error: The query is wrong, or it is anything but one reading statement.

        """
        with closing(self._connect()) as connection:
            connection.row_factory = sqlite3.Row
            connection.set_authorizer(_allow_reading)
            rows: Sequence[sqlite3.Row] = connection.execute(query).fetchmany(ROW_LIMIT)
            return [dict(row) for row in rows]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)


def create_shop(path: Path) -> Shop:
    """Write the sample shop, the same rows every time, to a new file and return it.

    A file that is already there is opened as it is and never written to.

    Arguments:
        path: The database file; its directory has to be there.

    Raises:
        sqlite3.Error: The file cannot be written.

    """
    if not path.exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(SCHEMA)
            _fill(connection)
            connection.commit()
    return Shop(path=path)


def _fill(connection: sqlite3.Connection) -> None:
    dice = random.Random(2025)  # noqa: S311 - sample rows, the same every time
    names = [(first, last) for last in LAST_NAMES for first in FIRST_NAMES]
    customers = [
        (f"{first} {last}", f"{first}.{last}@example.com".lower(), dice.randint(1, len(CITIES)), _day(dice))
        for first, last in names
    ]
    orders = [(dice.randint(1, len(customers)), _day(dice), dice.choice(STATUSES)) for _ in range(ORDER_COUNT)]
    items = [
        (order, product, dice.randint(1, 4), PRODUCTS[product - 1][2])
        for order in range(1, ORDER_COUNT + 1)
        for product in sorted(dice.sample(range(1, len(PRODUCTS) + 1), dice.randint(1, 3)))
    ]
    connection.executemany("INSERT INTO cities (name, state) VALUES (?, ?)", CITIES)
    connection.executemany("INSERT INTO customers (name, email, city_id, joined_on) VALUES (?, ?, ?, ?)", customers)
    connection.executemany("INSERT INTO products (name, category, list_price) VALUES (?, ?, ?)", PRODUCTS)
    connection.executemany("INSERT INTO orders (customer_id, ordered_on, status) VALUES (?, ?, ?)", orders)
    connection.executemany(
        "INSERT INTO order_items (order_id, product_id, quantity, unit_price) VALUES (?, ?, ?, ?)", items
    )


def _day(dice: random.Random) -> str:
    return (FIRST_DAY + timedelta(days=dice.randrange(DAYS))).isoformat()


def _allow_reading(action: int, *_: str | None) -> int:
    reading = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in reading else sqlite3.SQLITE_DENY
