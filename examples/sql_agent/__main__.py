"""What does `python -m examples.sql_agent` do? It runs the program."""

from __future__ import annotations

import sys

from examples.sql_agent.main import main

if __name__ == "__main__":
    sys.exit(main())
