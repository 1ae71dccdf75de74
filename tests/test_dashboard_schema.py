from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from langchain_tokens.dashboard import create_app
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.dashboards import INTENT, crew_calls, crew_runs

EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture
def described() -> Iterator[Any]:
    """The API over a store with calls, described by itself."""
    store = UsageStore(parse_target("sqlite://"))
    calls = crew_calls()
    store.add(calls, crew_runs(calls))
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(store, read_only=False, allowed_hosts=["*"]))
    store._opener._engine.dispose()


def test_api_keeps_its_description(described: Any) -> None:
    """Whatever is asked, right or wrong: no failure of the server, and only what the description says."""
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 12
    for operation in operations:
        _ask(operation)


def _ask(operation: Any) -> None:
    """Ask one route for what a program made up."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    )
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=INTENT, checks=CHECKS)

    ask()


@pytest.mark.parametrize(
    ("path", "parameter", "value"),
    [("/api/v1/calls/{call_id}", "call_id", "crew-1"), ("/api/v1/calls/{call_id}", "call_id", "crew-7")],
)
def test_known_calls_keep_their_description(described: Any, path: str, parameter: str, value: str) -> None:
    """A call with all its numbers, and one without any, are as the description says."""
    case = described[path]["GET"].Case(path_parameters={parameter: value})
    assert case.call_and_validate(checks=CHECKS).status_code == 200


def test_known_runs_keep_their_description(described: Any) -> None:
    """So is a run with its tree."""
    run_id = crew_calls()[0].run_id
    case = described["/api/v1/runs/{run_id}"]["GET"].Case(path_parameters={"run_id": run_id})
    assert case.call_and_validate(checks=CHECKS).status_code == 200
