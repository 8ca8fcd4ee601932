"""`python -m ygg`: the same as the command `ygg`."""

from ygg.cli import main

main()
