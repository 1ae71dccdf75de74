"""How is the command run where its script is not on the path? `python -m langchain_tokens.cli`."""

from __future__ import annotations

from langchain_tokens.cli import main

if __name__ == "__main__":
    main()
