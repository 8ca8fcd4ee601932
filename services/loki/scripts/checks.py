"""CheckScript: the engine says whether it compiles, `services.loki.lint` what else is wrong. Executes nothing of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence

from services.chassis.threads import in_thread
from services.domain.capability import Capability
from services.loki import model
from services.loki.errors import EngineBusyError, EngineMissingError, ScriptError
from services.loki.lint import declared
from services.loki.lint.check import lint
from services.loki.lint.findings import Finding, Severity
from services.loki.model import Language
from services.loki.ports import DeviceQuery, Mesh
from services.loki.programs.errors import InvalidPackageError
from services.loki.service import Loki
from yggdrasil.loki.v1 import script_pb2 as pb

Compiles = Callable[[str, Language, Mapping[str, str]], Awaitable[None]]
"""Whether a text compiles with the packages (id, least version) that it declares; raises as Programs.compiles does."""
MAX_DEVICES, MAX_FINDINGS = 50, 200
TIMEOUT_S = 10.0
_SEVERITIES = {
    Severity.ERROR: pb.SEVERITY_ERROR,
    Severity.WARNING: pb.SEVERITY_WARNING,
    Severity.NOTE: pb.SEVERITY_NOTE,
}


class Checker:
    """Checks texts."""

    def __init__(self, loki: Loki, mesh: Mesh, compiles: Compiles) -> None:
        self._loki, self._mesh, self._compiles = loki, mesh, compiles

    async def check(
        self, source: str, language: Language, device_ids: Sequence[str], selector: str
    ) -> tuple[list[str], list[pb.Finding]]:
        """Return the devices with the contracts used, and the findings by position."""
        script = model.script(source, language, name="script")
        targets = await self._targets(device_ids, selector)
        findings = await self._syntax(script)
        if not findings:  # what does not compile is not read further
            findings = await in_thread(lint, source, language, targets)
        ordered = sorted(findings, key=lambda f: (f.line, f.column, f.rule, f.message))
        return sorted(targets), [_to_proto(finding) for finding in ordered[:MAX_FINDINGS]]

    async def _targets(self, device_ids: Sequence[str], selector: str) -> Mapping[str, Sequence[Capability]]:
        names = dict.fromkeys(device_ids)
        if selector:
            query = DeviceQuery(selector=selector)
            names |= dict.fromkeys(device.id for device in await self._mesh.devices(query, TIMEOUT_S))
        return {name: await self._mesh.capabilities(name, TIMEOUT_S) for name in list(names)[:MAX_DEVICES]}

    async def _syntax(self, script: model.Script) -> list[Finding]:
        depends = declared.packages(script.source)
        try:
            if depends:
                await self._compiles(script.source, script.language, depends)
                return []
            await self._loki.execute(dataclasses.replace(script, check_only=True), lambda _: None)
        except (EngineBusyError, EngineMissingError) as e:
            return [Finding(1, 1, "NOT_COMPILED", e.message, Severity.WARNING)]
        except InvalidPackageError as e:
            return [Finding(1, 1, "NOT_LOADED", f"{e.message}. {e.hint}".strip(), Severity.WARNING)]
        except ScriptError as e:
            return [Finding(max(1, e.line), 1, "SYNTAX" if e.reason == "SYNTAX" else e.reason, e.message)]
        return []


def _to_proto(finding: Finding) -> pb.Finding:
    return pb.Finding(
        line=finding.line,
        column=finding.column,
        severity=_SEVERITIES[finding.severity],
        rule=finding.rule,
        message=finding.message,
    )
