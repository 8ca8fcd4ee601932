"""Errors of the bridge: those of callers, and those that end a device link."""

from __future__ import annotations

from services.domain.errors import Reason, YggError
from yggdrasil.device.v1 import link_pb2 as link

PROTOCOL = 1
"""The version of Einherjar that this bridge speaks."""


class DeviceOfflineError(YggError, reason=Reason.DEVICE_OFFLINE):
    """The device has no session; nothing was sent."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"{device_id} is offline; nothing was sent to it",
            hint="Call again when it is online: ygg device watch shows when.",
            device=device_id,
        )


class DeviceNotActiveError(YggError, reason=Reason.DEVICE_NOT_ACTIVE):
    """The device's state does not allow it to connect; nothing was sent."""

    def __init__(self, device_id: str, state: str) -> None:
        hint = "A retired device never connects again." if state == "retired" else f"ygg device activate {device_id}"
        super().__init__(f"{device_id} is {state}; nothing was sent to it", hint=hint, device=device_id, state=state)


class UnknownDeviceError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """The device is not registered."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"there is no device {device_id}", hint="ygg device ls lists the registered devices.", device=device_id
        )


class OutcomeUnknownError(YggError, reason=Reason.OUTCOME_UNKNOWN):
    """The device disconnected after the call was sent."""

    def __init__(self, device_id: str, call_id: str, boot_id: str) -> None:
        super().__init__(
            f"{device_id} disconnected during the call, so its outcome is unknown",
            hint=f"When it is online, repeat it with call_id {call_id}: within one boot it is not executed twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class OtherBootError(YggError, reason=Reason.OTHER_BOOT):
    """The device has restarted since the call was first sent; nothing was sent now."""

    def __init__(self, device_id: str, call_id: str, first: str, now: str) -> None:
        super().__init__(
            f"{device_id} has restarted since call {call_id} was first sent, so its outcome stays unknown",
            hint="Read the device's state, then call with a new call_id.",
            device=device_id,
            call_id=call_id,
            first_boot_id=first,
            boot_id=now,
        )


class CallDeadlineError(YggError, reason=Reason.CALL_DEADLINE):
    """The device did not respond in time."""

    def __init__(self, device_id: str, call_id: str, boot_id: str, waited_s: float) -> None:
        super().__init__(
            f"{device_id} did not respond within {waited_s:.3g} s, so the outcome is unknown",
            hint=f"Repeat it with call_id {call_id}: within one boot it is not executed twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class SlowCallerError(YggError, reason=Reason.SLOW_CALLER):
    """The caller did not read the responses of a streamed call fast enough."""

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(f"the caller left {limit} responses of {device_id} unread", device=device_id, limit=limit)


class TooManyCallsError(YggError, reason=Reason.CALLS_IN_FLIGHT):
    """The device has as many calls in flight as its contract allows; nothing was sent."""

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(
            f"{device_id} has {limit} calls in flight, its contract allows no more; nothing was sent to it",
            hint="Call again when one has ended.",
            device=device_id,
            limit=limit,
        )


class CallTooLargeError(YggError, reason=Reason.CALL_TOO_LARGE):
    """The call exceeds the largest frame that the device can receive; nothing was sent."""

    def __init__(self, device_id: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the call takes {size_bytes} bytes, {device_id} can receive {limit_bytes}; nothing was sent to it",
            hint="Send shorter text or bytes, or fewer arguments.",
            device=device_id,
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class DeviceRefusedError(YggError, reason=Reason.DEVICE_REFUSED):
    """The device rejected the call, or its hardware failed."""


class DeviceBusyError(YggError, reason=Reason.DEVICE_BUSY):
    """The device is overloaded and did not execute the call."""


class DeviceLateError(YggError, reason=Reason.DEVICE_LATE):
    """The deadline passed before the device started the call; it did not execute it."""


class ResultError(YggError, reason=Reason.RESULT_NOT_IN_CONTRACT):
    """The device's response does not match its contract."""


class NoSessionError(YggError, reason=Reason.NO_SESSION):
    """The device has no live session."""

    def __init__(self, device_id: str) -> None:
        super().__init__(f"{device_id} has no live session", device=device_id)


class LinkError(Exception):
    """The peer violated the protocol of the device link, which ends with this Goodbye code."""

    def __init__(self, code: link.GoodbyeCode.ValueType, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def frame(self) -> link.Goodbye:
        """Return the frame that ends the link."""
        return link.Goodbye(code=self.code, message=cut(self.message))


class HelloRefusedError(Exception):
    """A Hello, or the capabilities after it, is rejected; the link ends with Refused."""

    def __init__(self, code: link.RefusedCode.ValueType, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_ms = code, message, retry_after_ms

    def frame(self) -> link.Refused:
        """Return the frame that ends the link."""
        return link.Refused(
            code=self.code,
            message=cut(self.message),
            retry_after_ms=self.retry_after_ms,
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
        )


def cut(text: str, limit_bytes: int = 127) -> str:
    """Return `text` cut to `limit_bytes` of UTF-8 at a character boundary."""
    return text.encode()[:limit_bytes].decode(errors="ignore")
