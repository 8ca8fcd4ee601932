"""The command line of `ygg`: a module per noun; `main` is the entry point."""

from ygg.cli.run import main

__all__ = ["main"]
