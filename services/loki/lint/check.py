"""The one entrance of the linter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.domain.capability import Capability
from services.loki.lint import lua, scheme
from services.loki.lint.contracts import Contracts
from services.loki.lint.findings import Finding
from services.loki.model import Language


def lint(source: str, language: Language, targets: Mapping[str, Sequence[Capability]]) -> list[Finding]:
    """Return the findings of a text that compiles, in no order; `targets` are contracts by device, may be empty."""
    contracts = Contracts(targets)
    return lua.lint(source, contracts) if language is Language.LUA else scheme.lint(source, contracts)
