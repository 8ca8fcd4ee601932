"""What goes to a worker and comes from it, as objects. Pure but for the host's answers; `worker` does the talking."""

from __future__ import annotations

from typing import Any

from services.domain.errors import InvalidRequestError, Reason, YggError
from services.domain.values import Value
from services.loki.engines import wire
from services.loki.engines.wire import WireError
from services.loki.errors import ScriptError
from services.loki.host import failure_value
from services.loki.model import Level, Script
from services.loki.ports import Host

LABEL_CHARS = 40


def job(script: Script) -> dict[str, Any]:
    """Return the payload of a RUN frame; of a TURN that only compiles it."""
    return {
        **({"do": "check", "program": 0} if script.check_only else {}),
        "name": script.name[-LABEL_CHARS:],
        "source": script.source,
        "device": script.device_id,
        "args": wire.dump(wire.to_json(dict(script.arguments))).decode() if script.arguments else '{"m":{}}',
        "memory_bytes": script.limits.memory_bytes,
    }


def line(content: Any) -> tuple[Level, str]:
    """Level and text of a LOG frame; raises WireError."""
    try:
        level, text = content
        return Level(level), str(text)
    except (ValueError, TypeError) as e:
        raise WireError("invalid log line") from e


def fields(payload: bytes) -> dict[str, Any]:
    """Return the object of a DONE or FAIL frame; raise WireError."""
    return object_of(wire.load(payload))


def object_of(content: Any) -> dict[str, Any]:
    """Return the content of a payload that must be an object; raise WireError."""
    if not isinstance(content, dict):
        raise WireError("a payload that is no object")
    return content


async def answer(host: Host, content: Any) -> bytes:
    """Return the payload of the ANSWER to a CALL frame; raise WireError if it is invalid, ScriptError past a limit."""
    if not isinstance(content, list) or not content or not isinstance(content[0], str):
        raise WireError("invalid call")
    try:
        value = await host.ask(content[0], [wire.from_json(item) for item in content[1:]])
    except ScriptError:
        raise
    except YggError as e:
        return _refusal(failure_value(e))
    payload = wire.dump([True, wire.to_json(value)])
    if len(payload) > wire.MAX_FRAME_BYTES:
        message = f"the answer to {content[0][:32]} is {len(payload)} bytes; at most {wire.MAX_FRAME_BYTES} are allowed"
        reason = Reason.ANSWER_TOO_LARGE
        return _refusal({"status": reason.code.name, "reason": reason.value, "message": message, "hint": "Query less."})
    return payload


def refusal(error: YggError) -> bytes:
    """Return the payload of the ANSWER that refuses an operation."""
    return _refusal(failure_value(error))


def _refusal(failure: dict[str, Value]) -> bytes:
    return wire.dump([False, wire.to_json(failure)])


def result(content: Any) -> Value:
    """Return the script's result; raise ScriptError if it is too wide or too deep, WireError if it is invalid."""
    try:
        return wire.from_json(content)
    except InvalidRequestError as e:
        raise ScriptError("SCRIPT_ERROR", f"the result of the script is not a value: {e.message}") from e


def timeout(script: Script, host: Host, where: tuple[int, str]) -> ScriptError:
    """Return the timeout error of a script that stood at `where`, its line and traceback."""
    waiting = f" (waiting for {host.waiting_for})" if host.waiting_for else ""
    return ScriptError(
        "TIMEOUT",
        f"the script did not end within {script.limits.timeout_s:g} s{waiting}",
        line=where[0],
        traceback=where[1],
        hint="Give it more time, at most 300 s, or let it do less.",
    )
