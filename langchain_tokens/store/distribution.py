"""Where would a row lie if the database spread its tables over many machines? By one column of each table.

That column is in the primary key and in every unique index, so that each machine can keep them by itself; and there is
nothing else that would need all machines at once: no number that counts up, no key of another table, no trigger.
"""

from __future__ import annotations

from collections.abc import Mapping

from langchain_tokens.store.budgettables import RESERVATIONS, TOLD
from langchain_tokens.store.rolluptables import CALLERS, CUBES, NAMES, STATE
from langchain_tokens.store.settledtables import LOCAL, SETTLED, WASTE
from langchain_tokens.store.tables import CALLS, CONTENTS, COST_REVISIONS, RUNS

__all__ = ("DISTRIBUTION",)

DISTRIBUTION: Mapping[str, str | None] = {
    CALLS.name: "call_id",
    CONTENTS.name: "call_id",
    RUNS.name: "run_id",
    COST_REVISIONS.name: "call_id",
    **{rollup.table.name: "chain_name" for rollup in (*CUBES.values(), *CALLERS.values())},
    **{rollup.table.name: "name" for rollup in NAMES.values()},
    RESERVATIONS.name: "call_id",
    TOLD.name: "account",
    WASTE.name: "chain_name",
    LOCAL.name: "name",
    SETTLED.name: None,
    STATE.name: None,
}
"""Table → the column that says on which machine a row lies; None: a few rows, of which every machine has a copy."""
