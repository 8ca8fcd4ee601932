"""Entry point of `python -m ygg`."""

from ygg.cli import main

main()
