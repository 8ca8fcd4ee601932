"""Every NATS subject of the mesh. Subjects are built only here.

ygg.v1.<tenant>.device.<device_id>.<kind>[.<name>]     online offline refused contract event telemetry
                                                        twin
ygg.v1.<tenant>.ota.<rollout_id>.<kind>
ygg.v1.<tenant>.loki.<program_id>.<kind>[.<name>]
ygg.v1.bridge.<bridge_id>.<rpc>                          requests to the bridge that owns a session
"""

from __future__ import annotations

import enum
import re

from services.domain import ids
from services.domain.errors import InvalidIdError

TENANT = "main"
ALL_DEVICES = "ygg.v1.*.device.>"
EVENT_STREAM = "YGG_EVENTS"
ALL_ROLLOUTS = "ygg.v1.*.ota.>"
OTA_STREAM = "YGG_OTA"
MAX_SUBJECT_BYTES = 1024
"""Far below max_control_line, 4096 bytes by default: the server closes the connection for a longer line."""
MAX_KEY_BYTES = 512
_SUBJECT = re.compile(r"[!-~]+\Z")
_KEY = re.compile(r"[A-Za-z0-9/_=-]+(\.[A-Za-z0-9/_=-]+)*\Z")


def checked(subject: str) -> str:
    """Return `subject` if it is valid on the wire, wildcards included; raises InvalidIdError."""
    if len(subject) > MAX_SUBJECT_BYTES or not _SUBJECT.match(subject):
        raise InvalidIdError(
            f"{ids.printable(subject)!r} is not a NATS subject",
            hint=f"A subject is 1 to {MAX_SUBJECT_BYTES} printable characters of ASCII without spaces.",
        )
    return subject


def key(value: str) -> str:
    """Return `value` if it is a key of a key-value bucket, which has no wildcards (ADR-8); raises InvalidIdError."""
    if len(value) > MAX_KEY_BYTES or not _KEY.match(value):
        raise InvalidIdError(
            f"{ids.printable(value)!r} is not a key",
            hint=f"A key is 1 to {MAX_KEY_BYTES} of A-Z, a-z, 0-9, _ = / and -, with single dots between.",
        )
    return value


class Kind(enum.Enum):
    """The kind of message on a device subject."""

    ONLINE = "online"
    OFFLINE = "offline"
    CONTRACT = "contract"
    EVENT = "event"
    TELEMETRY = "telemetry"
    TWIN = "twin"
    REFUSED = "refused"


_NAMED = (Kind.EVENT, Kind.TELEMETRY)


def device(device_id: str, kind: Kind, *names: str, tenant: str = TENANT) -> str:
    """Return a subject such as `ygg.v1.main.device.porch-1.event.temp0.over`; the ids are checked, so none has a
    wildcard.
    """
    tail = "".join(f".{ids.member_id(name)}" for name in names)
    return f"ygg.v1.{ids.member_id(tenant)}.device.{ids.device_id(device_id)}.{kind.value}{tail}"


def device_filter(device_id: str | None = None, kind: Kind | None = None, tenant: str = TENANT) -> str:
    """Return a subscription for one device or all, one kind or all."""
    device = "*" if device_id is None else ids.device_id(device_id)
    what = ">" if kind is None else f"{kind.value}.>" if kind in _NAMED else kind.value
    return f"ygg.v1.{ids.member_id(tenant)}.device.{device}.{what}"


def loki(program_id: str, kind: str, *names: str, tenant: str = TENANT) -> str:
    """Return a subject such as `ygg.v1.main.loki.blink.message.topic`."""
    tail = "".join(f".{ids.member_id(name)}" for name in names)
    return f"ygg.v1.{ids.member_id(tenant)}.loki.{ids.member_id(program_id)}.{ids.member_id(kind)}{tail}"


def ota(rollout_id: str, kind: str, tenant: str = TENANT) -> str:
    """Return a subject such as `ygg.v1.main.ota.r-3f9a1c.started`; a rollout id follows the grammar of device ids."""
    return f"ygg.v1.{ids.member_id(tenant)}.ota.{ids.device_id(rollout_id)}.{ids.member_id(kind)}"


def ota_filter(kind: str, tenant: str = TENANT) -> str:
    """Return a subscription for one kind of event of all rollouts."""
    return f"ygg.v1.{ids.member_id(tenant)}.ota.*.{ids.member_id(kind)}"


def bridge(bridge_id: str, rpc: str) -> str:
    """Return `ygg.v1.bridge.<bridge_id>.<rpc>`; a bridge id follows the grammar of device ids."""
    return f"ygg.v1.bridge.{ids.device_id(bridge_id)}.{ids.member_id(rpc)}"
