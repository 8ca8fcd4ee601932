"""Scheme by GNU Guile 3: the worker program in Scheme (ygg/*.scm), and its compilation."""
