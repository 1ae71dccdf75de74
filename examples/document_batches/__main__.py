"""What does `python -m examples.document_batches` do? It runs the program."""

from __future__ import annotations

import sys

from examples.document_batches.main import main

if __name__ == "__main__":
    sys.exit(main())
