"""Every way of calling a model that LangChain and LangGraph have, and whom the call must belong to."""

import pytest

pytest.register_assert_rewrite("tests.conformance.table")
