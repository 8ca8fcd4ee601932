"""Lua 5.4 by lupa: one runtime a program, nothing of Python within its reach."""
