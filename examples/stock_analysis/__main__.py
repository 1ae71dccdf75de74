"""What does `python -m examples.stock_analysis` do? It runs the program."""

from __future__ import annotations

import sys

from examples.stock_analysis.main import main

if __name__ == "__main__":
    sys.exit(main())
