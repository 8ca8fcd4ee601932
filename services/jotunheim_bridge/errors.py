"""What can go wrong in the bridge: for callers, and on the device link."""

from __future__ import annotations

from services.domain.errors import Code, YggError
from yggdrasil.device.v1 import link_pb2 as link

PROTOCOL = 1
"""The version of Einherjar that this bridge speaks."""


class DeviceOfflineError(YggError):
    """The device has no session; nothing was sent."""

    code, reason = Code.UNAVAILABLE, "DEVICE_OFFLINE"

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} is offline; nothing was sent to it",
            hint="Call again when it is back: ygg device watch tells.",
            device=device_id,
        )


class DeviceNotActiveError(YggError):
    """The device is known and may not connect; nothing was sent."""

    code, reason = Code.FAILED_PRECONDITION, "DEVICE_NOT_ACTIVE"

    def __init__(self, device_id: str, state: str) -> None:
        hint = "A retired device never connects again." if state == "retired" else f"ygg device activate {device_id}"
        super().__init__(f"{device_id} is {state}; nothing was sent to it", hint=hint, device=device_id, state=state)


class UnknownDeviceError(YggError):
    """The registry knows no such device."""

    code, reason = Code.NOT_FOUND, "DEVICE_NOT_FOUND"

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"there is no device {device_id}", hint="ygg device ls shows the ones there are.", device=device_id
        )


class OutcomeUnknownError(YggError):
    """The device went away after the call was sent."""

    code, reason = Code.ABORTED, "OUTCOME_UNKNOWN"

    def __init__(self, device_id: str, call_id: str, boot_id: str) -> None:
        super().__init__(
            f"{device_id} went away during the call, so its outcome is unknown",
            hint=f"When it is back, repeat it with call_id {call_id}: within one boot it is not done twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class OtherBootError(YggError):
    """The device has restarted since the call was first sent; nothing was sent now."""

    code, reason = Code.ABORTED, "OTHER_BOOT"

    def __init__(self, device_id: str, call_id: str, first: str, now: str) -> None:
        super().__init__(
            f"{device_id} has restarted since call {call_id} was first sent, so its outcome stays unknown",
            hint="Look at the device's state; then call under a new call_id.",
            device=device_id,
            call_id=call_id,
            first_boot_id=first,
            boot_id=now,
        )


class CallDeadlineError(YggError):
    """The device did not answer in time."""

    code, reason = Code.DEADLINE_EXCEEDED, "CALL_DEADLINE"

    def __init__(self, device_id: str, call_id: str, boot_id: str, waited_s: float) -> None:
        super().__init__(
            f"{device_id} did not answer within {waited_s:.3g} s, so the outcome is unknown",
            hint=f"Repeat it with call_id {call_id}: within one boot it is not done twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class SlowCallerError(YggError):
    """The caller did not take the answers of a streamed call fast enough."""

    code, reason = Code.RESOURCE_EXHAUSTED, "SLOW_CALLER"

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(f"{limit} answers of {device_id} were waiting for their caller", device=device_id, limit=limit)


class TooManyCallsError(YggError):
    """The contract allows no more calls at once; nothing was sent."""

    code, reason = Code.RESOURCE_EXHAUSTED, "CALLS_IN_FLIGHT"

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(
            f"{device_id} has {limit} calls in flight, its contract allows no more; nothing was sent to it",
            hint="Call again when one has ended.",
            device=device_id,
            limit=limit,
        )


class CallTooLargeError(YggError):
    """The call does not fit the largest frame that the device can receive; nothing was sent."""

    code, reason = Code.FAILED_PRECONDITION, "CALL_TOO_LARGE"

    def __init__(self, device_id: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the call takes {size_bytes} bytes, {device_id} can receive {limit_bytes}; nothing was sent to it",
            hint="Send shorter text or bytes, or fewer arguments.",
            device=device_id,
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class DeviceRefusedError(YggError):
    """The device itself refused the call, or its hardware failed."""

    code, reason = Code.FAILED_PRECONDITION, "DEVICE_REFUSED"


class DeviceBusyError(YggError):
    """The device has too much to do; nothing was done."""

    code, reason = Code.RESOURCE_EXHAUSTED, "DEVICE_BUSY"


class DeviceLateError(YggError):
    """The deadline passed before the device began; nothing was done."""

    code, reason = Code.DEADLINE_EXCEEDED, "DEVICE_LATE"


class ResultError(YggError):
    """The device's answer is not what its contract says."""

    code, reason = Code.DATA_LOSS, "RESULT_NOT_IN_CONTRACT"


class NoSessionError(YggError):
    """The device has no live session."""

    code, reason = Code.NOT_FOUND, "NO_SESSION"

    def __init__(self, device_id: str) -> None:
        super().__init__(f"{device_id} has no live session", device=device_id)


class LinkError(Exception):
    """The peer on the device link broke a rule; the link ends with this Goodbye code."""

    def __init__(self, code: link.GoodbyeCode.ValueType, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def frame(self) -> link.Goodbye:
        """What the peer is told."""
        return link.Goodbye(code=self.code, message=cut(self.message))


class HelloRefusedError(Exception):
    """A Hello, or the capabilities after it, is not accepted; the link ends with Refused."""

    def __init__(self, code: link.RefusedCode.ValueType, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_ms = code, message, retry_after_ms

    def frame(self) -> link.Refused:
        """What the device is told."""
        return link.Refused(
            code=self.code,
            message=cut(self.message),
            retry_after_ms=self.retry_after_ms,
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
        )


def cut(text: str, limit_bytes: int = 127) -> str:
    """Text for the link: at most so many bytes of UTF-8, and no half character at the end."""
    return text.encode()[:limit_bytes].decode(errors="ignore")
