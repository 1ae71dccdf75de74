"""What does `python -m examples.chat_modes` do? It runs the program."""

from __future__ import annotations

import sys

from examples.chat_modes.main import main

if __name__ == "__main__":
    sys.exit(main())
