"""What can go wrong in the bridge: for callers, and on the device link."""

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
            hint="Call again when it is back: ygg device watch tells.",
            device=device_id,
        )


class DeviceNotActiveError(YggError, reason=Reason.DEVICE_NOT_ACTIVE):
    """The device is known and may not connect; nothing was sent."""

    def __init__(self, device_id: str, state: str) -> None:
        hint = "A retired device never connects again." if state == "retired" else f"ygg device activate {device_id}"
        super().__init__(f"{device_id} is {state}; nothing was sent to it", hint=hint, device=device_id, state=state)


class UnknownDeviceError(YggError, reason=Reason.DEVICE_NOT_FOUND):
    """The registry knows no such device."""

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f"there is no device {device_id}", hint="ygg device ls shows the ones there are.", device=device_id
        )


class OutcomeUnknownError(YggError, reason=Reason.OUTCOME_UNKNOWN):
    """The device went away after the call was sent."""

    def __init__(self, device_id: str, call_id: str, boot_id: str) -> None:
        super().__init__(
            f"{device_id} went away during the call, so its outcome is unknown",
            hint=f"When it is back, repeat it with call_id {call_id}: within one boot it is not done twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class OtherBootError(YggError, reason=Reason.OTHER_BOOT):
    """The device has restarted since the call was first sent; nothing was sent now."""

    def __init__(self, device_id: str, call_id: str, first: str, now: str) -> None:
        super().__init__(
            f"{device_id} has restarted since call {call_id} was first sent, so its outcome stays unknown",
            hint="Look at the device's state; then call under a new call_id.",
            device=device_id,
            call_id=call_id,
            first_boot_id=first,
            boot_id=now,
        )


class CallDeadlineError(YggError, reason=Reason.CALL_DEADLINE):
    """The device did not answer in time."""

    def __init__(self, device_id: str, call_id: str, boot_id: str, waited_s: float) -> None:
        super().__init__(
            f"{device_id} did not answer within {waited_s:.3g} s, so the outcome is unknown",
            hint=f"Repeat it with call_id {call_id}: within one boot it is not done twice.",
            device=device_id,
            call_id=call_id,
            boot_id=boot_id,
        )


class SlowCallerError(YggError, reason=Reason.SLOW_CALLER):
    """The caller did not take the answers of a streamed call fast enough."""

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(f"{limit} answers of {device_id} were waiting for their caller", device=device_id, limit=limit)


class TooManyCallsError(YggError, reason=Reason.CALLS_IN_FLIGHT):
    """The contract allows no more calls at once; nothing was sent."""

    def __init__(self, device_id: str, limit: int) -> None:
        super().__init__(
            f"{device_id} has {limit} calls in flight, its contract allows no more; nothing was sent to it",
            hint="Call again when one has ended.",
            device=device_id,
            limit=limit,
        )


class CallTooLargeError(YggError, reason=Reason.CALL_TOO_LARGE):
    """The call does not fit the largest frame that the device can receive; nothing was sent."""

    def __init__(self, device_id: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the call takes {size_bytes} bytes, {device_id} can receive {limit_bytes}; nothing was sent to it",
            hint="Send shorter text or bytes, or fewer arguments.",
            device=device_id,
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class DeviceRefusedError(YggError, reason=Reason.DEVICE_REFUSED):
    """The device itself refused the call, or its hardware failed."""


class DeviceBusyError(YggError, reason=Reason.DEVICE_BUSY):
    """The device has too much to do; nothing was done."""


class DeviceLateError(YggError, reason=Reason.DEVICE_LATE):
    """The deadline passed before the device began; nothing was done."""


class ResultError(YggError, reason=Reason.RESULT_NOT_IN_CONTRACT):
    """The device's answer is not what its contract says."""


class NoSessionError(YggError, reason=Reason.NO_SESSION):
    """The device has no live session."""

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
