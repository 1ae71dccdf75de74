"""What does `python -m examples.clinical_pipeline` do? It runs the program."""

from __future__ import annotations

import sys

from examples.clinical_pipeline.main import main

if __name__ == "__main__":
    sys.exit(main())
