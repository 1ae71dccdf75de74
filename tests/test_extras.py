"""What happens without an extra? One error that names it, when what needs it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "name", "library", "said"),
    [
        ("agent", "BudgetMiddleware", "langchain", "agents need langchain 1.x: pip install 'langchain_tokens[agents]'"),
        (
            "fastapi",
            "TokenUsageMiddleware",
            "fastapi",
            "langchain_tokens.integrations.fastapi needs FastAPI: pip install 'langchain_tokens[fastapi]'",
        ),
        (
            "otel",
            "TokenMetrics",
            "opentelemetry",
            "langchain_tokens.integrations.otel needs OpenTelemetry: pip install 'langchain_tokens[otel]'",
        ),
    ],
)
def test_missing_library_is_named_with_its_extra(module: str, name: str, library: str, said: str) -> None:
    """Where a library is not installed, the integration says what to install."""
    program = (
        f"import sys\nsys.modules[{library!r}] = None\n"
        f"try:\n    from langchain_tokens.integrations.{module} import {name}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"MissingExtraError {said}"
