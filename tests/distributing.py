"""Which worker runs what, and when? Tests of a file stay together, what takes long begins first, and no core waits."""

from __future__ import annotations

import os
from typing import Any

import pytest

__all__ = ("pytest_collection_modifyitems", "pytest_xdist_auto_num_workers", "pytest_xdist_make_scheduler")

_TOGETHER = "tests/recorded/"
"""Its files share one server and one handler, and have every client library loaded."""
_LONG = (
    *("test_dashboard_page", "test_dashboard_trouble", "test_distribution", "test_retention", "test_rollups"),
    *("test_outage", "test_durability", "test_faults", "test_kills", "test_scale", "test_pytest_plugin"),
    *("test_upgrade", "test_downgrade", "test_partitions", "test_cli_reading", "test_zone_sums", "test_settling"),
    *("test_store", "test_forecast", "test_largest", "test_docs", "test_budget_ledger", "test_budget_stops"),
    *("test_memory", "test_harmless", "test_importing", "test_dashboard_schema", "test_dashboard_api"),
    "test_example_chat_modes",
)
"""Files that would keep one worker busy when the others have nothing left to do, the longest first."""
_PLACES = {name: place for place, name in enumerate(_LONG)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes long, the longest before all; else the order is as it was."""
    items.sort(key=lambda item: (not item.nodeid.startswith(_TOGETHER), _PLACES.get(item.path.stem, len(_LONG))))


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
