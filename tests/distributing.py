"""Which worker runs what, and when? Tests of a file stay together, what takes long begins first, and no core waits."""

from __future__ import annotations

import os
from typing import Any

import pytest

__all__ = ("pytest_collection_modifyitems", "pytest_xdist_auto_num_workers", "pytest_xdist_make_scheduler")

_TOGETHER = "tests/recorded/"
"""Its files share one server and one handler, and have every client library loaded."""
_LONG = (
    *("test_retention", "test_outage", "test_partitions", "test_rollups", "test_dashboard_page", "test_store"),
    *("test_pytest_plugin", "test_example_sql_agent", "test_durability", "test_memory", "test_harmless", "test_kills"),
    *("test_scale", "test_budget_ledger", "test_budget_stops", "test_cli_reading", "test_importing", "test_record"),
    *("test_downgrade", "test_upgrade", "test_findings", "test_postgresql", "test_docs", "test_dashboard_schema"),
)
"""Files that would keep one worker busy when the others have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes long; else the order is as it was."""
    items.sort(key=lambda item: (not item.nodeid.startswith(_TOGETHER), item.path.stem not in _LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores, since some of them always wait: for a server, a browser, another process."""
    is_linux = hasattr(os, "sched_getaffinity")
    return 1 + (len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By file, and what shares much with its neighbours with them."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _TOGETHER if nodeid.startswith(_TOGETHER) else super()._split_scope(nodeid)

    return Scheduling(config, log)
