"""Errors and probable errors in a script, found by static analysis. Pure: runs nothing, calls nothing."""
