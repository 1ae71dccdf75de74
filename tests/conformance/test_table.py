"""The table has a row for each scenario of the study's matrix."""

from __future__ import annotations

from tests.conformance import test_agents, test_chains, test_concurrent, test_graphs, test_names, test_once, test_resume

TABLES = [
    module.TABLE
    for module in (test_agents, test_chains, test_concurrent, test_graphs, test_names, test_once, test_resume)
]


def test_the_table_is_complete() -> None:
    """All sixty-four scenarios of the study are played."""
    numbers = {row.number for table in TABLES for row in table.rows if row.number != "+"}
    assert numbers == {f"{number:02}" for number in range(1, 65)}
