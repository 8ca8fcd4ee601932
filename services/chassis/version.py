"""The version of this distribution. Separate from `run`, so that it can be read without further imports."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the version of this distribution, `0+checkout` if it is not installed."""
    try:
        return version("yggdrasil-mesh")
    except PackageNotFoundError:
        return "0+checkout"
