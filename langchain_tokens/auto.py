"""How is a program tracked that knows nothing of this? Import this module in it, or run the program through it.

`import langchain_tokens.auto` catches the calls of the whole process that have no handler, into the default store,
while the environment variable `LANGCHAIN_TOKENS` is set to anything but `0` or `false`.
`python -m langchain_tokens.auto app.py`, or `-m PACKAGE` in place of the file, sets the variable where it is not set,
imports this and runs the program as Python would.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from langchain_tokens.scope import register_everywhere

__all__ = ()

_USAGE = "usage: python -m langchain_tokens.auto (FILE | -m MODULE) [ARGUMENT ...]"


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
    sys.argv = program
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(program[0]).resolve().parent)  # where Python looks for a program's own modules
        runpy.run_path(program[0], run_name="__main__")


register_everywhere()
if __name__ == "__main__":
    _run(sys.argv[1:])
