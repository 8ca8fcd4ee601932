"""How registered scripts fail beyond how runs do."""

from __future__ import annotations

from services.domain.errors import Reason, YggError


class ScriptNotFoundError(YggError, reason=Reason.SCRIPT_NOT_FOUND):
    """There is no registered script of that name."""


class ScriptExistsError(YggError, reason=Reason.SCRIPT_EXISTS):
    """The name is taken, and the caller wants a new one."""


class StaleScriptError(YggError, reason=Reason.STALE_REVISION):
    """The script has changed since the revision that the caller knows."""


class RequirementError(YggError, reason=Reason.REQUIREMENT_NOT_MET):
    """The device's contract does not meet what the script requires."""


class UndeclaredResultError(YggError, reason=Reason.RESULT_NOT_DECLARED):
    """A run returned something else than the script declares."""
