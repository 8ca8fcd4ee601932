"""Generates classes' reasons, exit codes and the reference of errors from services/domain/errors.toml.

The results are checked in, so that neither the wheel nor the containers need this module;
tests/unit/test_error_catalogue.py fails if they are not current. `python -m tools.error_catalogue` writes them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "services" / "domain" / "errors.toml"
NOTE = "Generated from services/domain/errors.toml by `make gen`; do not edit."


def load(text: str) -> dict[str, Any]:
    """Return the catalogue, its reasons sorted; raise ValueError naming the entry that is invalid."""
    catalogue = tomllib.loads(text)
    catalogue["reason"] = dict(sorted(catalogue["reason"].items()))
    for name, entry in catalogue["reason"].items():
        _check(name, entry, catalogue)
    for code, exit_name in catalogue["code"].items():
        if exit_name not in catalogue["exit"]:
            raise ValueError(f"code {code}: there is no exit {exit_name}")
    return catalogue


def _check(name: str, entry: dict[str, Any], catalogue: dict[str, Any]) -> None:
    missing = {"code", "summary", "action"} - entry.keys()
    unknown = entry.keys() - {"code", "summary", "action", "data", "retry_after_s", "exit"}
    if missing or unknown:
        raise ValueError(f"{name}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    if entry["code"] not in catalogue["code"]:
        raise ValueError(f"{name}: there is no code {entry['code']}")
    if "exit" in entry and entry["exit"] not in catalogue["exit"]:
        raise ValueError(f"{name}: there is no exit {entry['exit']}")
    if entry.get("exit") == catalogue["code"][entry["code"]]:
        raise ValueError(f"{name}: exit {entry['exit']} is that of its code already")
    if entry.get("data", []) != sorted(set(entry.get("data", []))):
        raise ValueError(f"{name}: data is not sorted")
    if entry.get("retry_after_s", 1) <= 0:
        raise ValueError(f"{name}: retry_after_s is more than 0")


def reasons(catalogue: dict[str, Any]) -> str:
    """Return the text of services/domain/reasons.py."""
    codes = [f'    {code} = "{code.lower()}"' for code in catalogue["code"]]
    members = []
    for name, entry in catalogue["reason"].items():
        retry = f", {float(entry['retry_after_s'])}" if "retry_after_s" in entry else ""
        members.append(f'    {name} = "{name}", Code.{entry["code"]}{retry}')
    return _REASONS.format(note=NOTE, codes="\n".join(codes), reasons="\n".join(members))


def exit_codes(catalogue: dict[str, Any]) -> str:
    """Return the text of ygg/exit_codes.py."""
    exits = catalogue["exit"].items()
    own = {name: entry["exit"] for name, entry in catalogue["reason"].items() if "exit" in entry}
    return _EXIT_CODES.format(
        note=NOTE,
        exits="\n".join(f"    {name} = {exit_['number']}" for name, exit_ in exits),
        meanings="\n".join(f'    Exit.{name}: "{exit_["meaning"]}",' for name, exit_ in exits),
        by_code="\n".join(f'    "{code}": Exit.{name},' for code, name in catalogue["code"].items()),
        by_reason="\n".join(f'    "{reason}": Exit.{name},' for reason, name in own.items()),
    )


def reference(catalogue: dict[str, Any]) -> str:
    """Return the text of docs/reference/errors.md."""
    exits = "\n".join(f"| {exit_['number']} | {exit_['meaning']} |" for exit_ in catalogue["exit"].values())
    rows = []
    for name, entry in catalogue["reason"].items():
        number = catalogue["exit"][entry.get("exit", catalogue["code"][entry["code"]])]["number"]
        retry = f"{entry['retry_after_s']:g} s" if "retry_after_s" in entry else ""
        data = ", ".join(f"`{key}`" for key in entry.get("data", ()))
        cells = (f"`{name}`", entry["code"], str(number), entry["summary"], entry["action"], retry, data)
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return _REFERENCE.format(note=NOTE, exits=exits, reasons="\n".join(rows))


def outputs() -> dict[Path, str]:
    """Return the text of every generated file."""
    catalogue = load(CATALOGUE.read_text())
    return {
        ROOT / "services" / "domain" / "reasons.py": reasons(catalogue),
        ROOT / "ygg" / "exit_codes.py": exit_codes(catalogue),
        ROOT / "docs" / "reference" / "errors.md": reference(catalogue),
    }


_REASONS = '''"""Codes and reasons of the error catalogue. {note}"""

from __future__ import annotations

import enum


class Code(enum.Enum):
    """The kind of a failure; names as in google.rpc.Code."""

{codes}


class Reason(enum.StrEnum):
    """Every reason, with its code and, if the same request may be repeated, the delay before the next attempt."""

    code: Code
    retry_after_s: float | None

    def __new__(cls, value: str, code: Code, retry_after_s: float | None = None) -> Reason:
        """Return the member with its attributes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.code, member.retry_after_s = code, retry_after_s
        return member

{reasons}
'''

_EXIT_CODES = '''"""Exit codes of `ygg`, stable for scripts. {note}"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """An exit code of `ygg`."""

{exits}


MEANINGS = {{
{meanings}
}}
BY_CODE = {{
{by_code}
}}
"""By the name of the error's code."""
BY_REASON = {{
{by_reason}
}}
"""Reasons whose exit code differs from that of their code."""
'''

_REFERENCE = """# Errors

<!-- {note} -->

Every error of the mesh has a **reason**: a stable name that clients compare. It comes with each failed
RPC in the details of the gRPC status (`grpc-status-details-bin`):

- `google.rpc.ErrorInfo`, always: `reason`, `domain` = `yggdrasil`, and in `metadata` the keys listed
  under *Data* and, if there is one, `hint`, the next step for people.
- `google.rpc.BadRequest`, if the check knows which field of the request is invalid.
- `google.rpc.RetryInfo`, if the same request may succeed when repeated after the delay listed under
  *Retry*. A device executes no call twice because of such a retry; a write whose acknowledgement was
  lost may report ALREADY_EXISTS or a stale revision. Without it, do not repeat the request unchanged.

If one response holds the results of several devices, each failed one is a
`yggdrasil.common.v1.Failure` with the same code, reason, data, violations and retry delay.

Reasons of scripts, such as `SCRIPT_ERROR`, come with a `yggdrasil.loki.v1.ScriptFailure` that has line
and traceback. An error that a script did not catch keeps its own reason and code.

With `--json`, `ygg` writes `{{"error": {{...}}}}` to standard error: `message`, `hint`, `status`,
`reason`, `data`, `violations` (`field` and `description`), `retry_after_s` (or null) and `exit`.

## Exit codes of ygg

| Exit | Meaning |
|---|---|
{exits}

## Reasons

| Reason | Status | Exit | Meaning | Next step | Retry | Data |
|---|---|---|---|---|---|---|
{reasons}
"""


def main() -> None:
    """Write every generated file."""
    for path, text in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
