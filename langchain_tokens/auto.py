"""How is a program tracked that has no handlers? By one call at its start, or run through this module, unchanged.

`install()` catches the calls of the whole process that have no handler, into the default store, while the environment
variable `LANGCHAIN_TOKENS` is set to anything but `0` or `false`. `python -m langchain_tokens.auto app.py`, or
`-m PACKAGE` in place of the file, sets the variable where it is not set, and runs the program as Python would.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from langchain_tokens.scope import register_everywhere

__all__ = ("install",)

_USAGE = "usage: python -m langchain_tokens.auto (FILE | -m MODULE) [ARGUMENT ...]"


def install() -> None:
    """Track this process from now on, while `LANGCHAIN_TOKENS` is set; handlers and `track()` blocks come first.

    To call it again changes nothing.
    """
    register_everywhere()


def _run(words: list[str]) -> None:
    """Run a program with its arguments.

    Raises:
        SystemExit: for arguments that name none; and whatever the program raises.

    """
    is_module = words[:1] == ["-m"]
    program = words[1 if is_module else 0 :]
    if not program:
        raise SystemExit(_USAGE)
    os.environ.setdefault("LANGCHAIN_TOKENS", "1")
    install()
    sys.argv = program
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(program[0]).resolve().parent)  # where Python looks for a program's own modules
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    _run(sys.argv[1:])
