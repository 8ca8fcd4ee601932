"""Checks of calls against contracts: a member that no targeted contract has is a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.domain.arguments import check_given
from services.domain.capability import Action, Capability
from services.domain.errors import YggError
from services.domain.values import Value

MAINS = ("on", "state", "value", "level")
"""The property that is meant where only the capability is named and it has several; as in the engines."""


class Contracts:
    """The contracts of the targeted devices. Each method returns the fault, or "" if one target satisfies the call."""

    def __init__(self, targets: Mapping[str, Sequence[Capability]]) -> None:
        self._targets = targets

    def __bool__(self) -> bool:
        return bool(self._targets)

    def capability(self, capability_id: str) -> str:
        """`led0`."""
        return self._any(capability_id, lambda _: "")

    def path(self, path: str, what: str) -> str:
        """Check `led0.on` by its use: read, write, call, event, or member (any of them)."""
        capability_id, _, name = path.partition(".")
        return self._any(capability_id, lambda c: _member_fault(c, name, what))

    def convenience(self, name: str) -> str:
        """`read_temp0_celsius` or `set_led0`."""
        verb, _, rest = name.partition("_")
        for capabilities in self._targets.values():
            if any(_named(capability, rest, verb) for capability in capabilities):
                return ""
        return f"{self._who()} no property to {verb} by the name {name}"

    def led(self) -> str:
        """Check that a target has an LED."""
        if any(c.type == "actuator.led" for capabilities in self._targets.values() for c in capabilities):
            return ""
        return f"{self._who()} no actuator.led"

    def arguments(self, path: str, given: Mapping[str, Value]) -> str:
        """Check the literal arguments in `given`, which omits computed ones."""
        capability_id, _, name = path.partition(".")
        return self._any(capability_id, lambda c: _argument_fault(_action(c, name), given, path))

    def value(self, path: str, value: Value) -> str:
        """Check a literal that is written to a property."""
        capability_id, _, name = path.partition(".")

        def fault(capability: Capability) -> str:
            for prop in capability.properties:
                if prop.name == name:
                    try:
                        check_given(path, prop.schema, value)
                    except YggError as e:
                        return e.message
            return ""

        return self._any(capability_id, fault)

    def _any(self, capability_id: str, fault: object) -> str:
        first = ""
        for device, capabilities in self._targets.items():
            found = next((c for c in capabilities if c.id == capability_id), None)
            if found is None:
                have = ", ".join(c.id for c in capabilities) or "nothing"
                message = f"{device} has no capability {capability_id}; it has {have}"
            else:
                message = fault(found)  # type: ignore[operator]
                if not message:
                    return ""
            first = first or message
        return first

    def _who(self) -> str:
        names = sorted(self._targets)
        return f"{names[0]} has" if len(names) == 1 else f"{', '.join(names[:3])} have"


def _member_fault(capability: Capability, name: str, what: str) -> str:
    has: dict[str, list[str]] = {
        "read": [p.name for p in capability.properties if p.readable],
        "write": [p.name for p in capability.properties if p.writable],
        "call": [action.name for action in capability.actions],
        "event": [event.name for event in capability.events],
    }
    has["member"] = [*(p.name for p in capability.properties), *has["call"]]
    if capability.type == "actuator.led":
        has["member"] += ["on", "off", "state"]
    if name in has[what]:
        return ""
    words = {"read": "property to read", "write": "property to write", "call": "action", "event": "event"}
    have = ", ".join(dict.fromkeys(has[what])) or "none"
    return f"{capability.id} has no {words.get(what, what)} {name}; it has {have}"


def _action(capability: Capability, name: str) -> Action | None:
    return next((action for action in capability.actions if action.name == name), None)


def _argument_fault(action: Action | None, given: Mapping[str, Value], path: str) -> str:
    if action is None:
        return ""
    known = {parameter.name: parameter.schema for parameter in action.arguments}
    for name, value in given.items():
        if name not in known:
            return f"{path} has no argument {name}; it has {', '.join(known) or 'none'}"
        try:
            check_given(name, known[name], value)
        except YggError as e:
            return e.message
    return ""


def _named(capability: Capability, rest: str, verb: str) -> bool:
    usable = [p.name for p in capability.properties if (p.readable if verb == "read" else p.writable)]
    if rest == capability.id:
        return len(usable) == 1 or any(name in MAINS for name in usable)
    return any(rest == f"{capability.id}_{name}" for name in usable)
