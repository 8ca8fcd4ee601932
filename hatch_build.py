"""Generates the Python code of protos/ into gen/: the build hook of the wheel, and a command for a checkout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


def generate(root: Path = ROOT) -> Path:
    """Writes gen/yggdrasil/**/*_pb2{,_grpc}.py and .pyi from protos/**/*.proto; returns gen/."""
    import grpc_tools
    from grpc_tools import protoc

    protos, target = root / "protos", root / "gen"
    out = Path(tempfile.mkdtemp(prefix=".gen-", dir=root))
    out.chmod(0o755)
    files = sorted(str(p.relative_to(protos)) for p in protos.rglob("*.proto"))
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    status = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out={out}",
            f"--mypy_grpc_out={out}",
            *(plugin for plugin in plugins if Path(plugin.split("=", 2)[2]).exists()),
            *files,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status}")
    for folder in {
        out / "yggdrasil",
        *(p.parent for p in out.rglob("*_pb2.py")),
        *(p.parent.parent for p in out.rglob("*_pb2.py")),
    }:
        (folder / "__init__.py").touch()
        (folder / "py.typed").touch()
    shutil.rmtree(target, ignore_errors=True)  # swapped in whole, so that a failed run leaves the old one
    out.rename(target)
    return target


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the generated package `yggdrasil` into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates, then adds gen/yggdrasil to what the wheel holds."""
        if self.target_name != "wheel":
            return
        out = generate(Path(self.root))
        if version != "editable":  # an editable install finds gen/ by pyproject's dev-mode-dirs
            build_data["force_include"][str(out / "yggdrasil")] = "yggdrasil"


if __name__ == "__main__":
    print(f"generated {generate()}")
