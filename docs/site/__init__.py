"""Builds the site: generated reference pages, drawings, and the links that leave docs/. Used by docs/conf.py."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
