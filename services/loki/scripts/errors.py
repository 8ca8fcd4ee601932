"""Errors of registered scripts; a run fails with a ScriptError."""

from __future__ import annotations

from services.domain.errors import Reason, YggError


class ScriptNotFoundError(YggError, reason=Reason.SCRIPT_NOT_FOUND):
    """No script is registered under that name."""


class ScriptExistsError(YggError, reason=Reason.SCRIPT_EXISTS):
    """A script is already registered under that name."""


class StaleScriptError(YggError, reason=Reason.STALE_REVISION):
    """The write was based on an older revision."""


class RequirementError(YggError, reason=Reason.REQUIREMENT_NOT_MET):
    """The device's contract does not meet the requirements of the script."""


class UndeclaredResultError(YggError, reason=Reason.RESULT_NOT_DECLARED):
    """The result does not match the declaration of the script."""
