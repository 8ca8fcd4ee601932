"""The command line: `ygg`. Each module holds the commands of one noun; `main` is the entry point."""

from ygg.cli.run import main

__all__ = ["main"]
