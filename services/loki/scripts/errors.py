"""How registered scripts fail beyond how runs do."""

from __future__ import annotations

from services.domain.errors import Code, YggError


class ScriptNotFoundError(YggError):
    """There is no registered script of that name."""

    code, reason = Code.NOT_FOUND, "SCRIPT_NOT_FOUND"


class ScriptExistsError(YggError):
    """The name is taken, and the caller wants a new one."""

    code, reason = Code.ALREADY_EXISTS, "SCRIPT_EXISTS"


class StaleScriptError(YggError):
    """The script has changed since the revision that the caller knows."""

    code, reason = Code.ABORTED, "STALE_REVISION"


class RequirementError(YggError):
    """The device's contract does not meet what the script requires."""

    code, reason = Code.FAILED_PRECONDITION, "REQUIREMENT_NOT_MET"


class UndeclaredResultError(YggError):
    """A run returned something else than the script declares."""

    code, reason = Code.FAILED_PRECONDITION, "RESULT_NOT_DECLARED"
