"""What gets out of a hook, and what into a handler? Nothing but a budget's stop, and nothing but what was checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from langchain_tokens.errors import BudgetExceeded, TokensError

__all__ = ("check_options", "shielded")

Hook = TypeVar("Hook", bound=Callable[..., None])


def shielded(hook: Hook) -> Hook:
    """Keep every slip inside a hook from the host, but for a budget's stop; the first of each kind is logged."""

    @functools.wraps(hook)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except BudgetExceeded:
            raise
        except Exception as error:  # noqa: BLE001  # the host's run must go on whatever happens in here
            kind, said = f"{hook.__name__} {type(error).__name__}", (args, kwargs)
            self._capture.warnings.once(kind, f"{hook.__name__} failed", error, said)

    return cast("Hook", guarded)


def check_options(
    estimate: object, inspect_inputs: object, capture_content: object, journal: object, durability: object
) -> None:
    """Check a handler's options.

    Raises:
        TokensError: for one that cannot be, or two that contradict each other.

    """
    truths = {"estimate": estimate, "inspect_inputs": inspect_inputs, "capture_content": capture_content}
    for name, value in truths.items():
        if not isinstance(value, bool):
            raise TokensError(f"{name}={value!r} is a {type(value).__name__}; expected True or False")
    if not isinstance(journal, (bool, str, Path)) or journal == "":
        raise TokensError(f"journal={journal!r} is a {type(journal).__name__}; expected True, False or a folder")
    if durability not in ("process", "fsync"):
        raise TokensError(f"durability={durability!r}; expected 'process' or 'fsync'")
    if durability == "fsync" and journal is False:
        raise TokensError("durability='fsync' is the journal's, and journal=False keeps none")
