"""The version of this distribution. Apart from `run`, so that asking for it imports nothing else."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The version of this distribution, `0+checkout` where it is not installed."""
    try:
        return version("yggdrasil-mesh")
    except PackageNotFoundError:
        return "0+checkout"
