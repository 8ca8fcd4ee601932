"""Which callers an RPC admits, from the guards in the servicers: `require_user()` and `require_service(NAME…)`."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.site import ROOT

ANYBODY = "users and services"


def callers() -> dict[str, str]:
    """Return the callers of every guarded RPC by `Service.Method`; all others admit ANYBODY."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "services").rglob("*.py")):
        if "api" in path.relative_to(ROOT).parts or path.stem == "api":
            found |= _of_module(path)
    return found


def _of_module(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for servicer in (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)):
        bases = (ast.unparse(base).rpartition(".")[2] for base in servicer.bases)
        service = next((base.removesuffix("Servicer") for base in bases if base.endswith("Servicer")), "")
        for method in (node for node in servicer.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)):
            admitted = next((text for node in ast.walk(method) if (text := _guard(node))), "")
            if service and admitted:
                found[f"{service}.{method.name}"] = admitted
    return found


def _guard(node: ast.AST) -> str:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return ""
    if node.func.id == "require_user":
        return "users only"
    if node.func.id == "require_service":
        names = [str(ast.literal_eval(argument)) for argument in node.args]
        return f"the service {' or '.join(f'`{name}`' for name in names)} only"
    return ""
