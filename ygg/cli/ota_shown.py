"""Format a rollout as a line, as a panel with progress bars, and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ygg.output import safe

_COUNTED = (
    "confirmed",
    "trial",
    "downloading",
    "waiting",
    "reverted",
    "failed",
    "timed_out",
    "stopped",
    "unfit",
    "late",
)
_BAR = 40


def panel(found: Any) -> Any:
    """Return the live panel: a bar per wave, a bar for bytes, and the counts."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    counts = found.counts
    done = counts.total - counts.waiting - counts.downloading - counts.trial
    for number, wave in enumerate(found.spec.waves):
        size = -(-counts.total * wave.percent // 100) if wave.percent else min(wave.count, counts.total)
        here = "▸" if number == found.wave else " "
        table.add_row(
            f"{here} wave {number + 1}",
            ProgressBar(max(1, size), min(done, size), width=_BAR),
            f"{min(done, size)}/{size}",
        )
    if found.download_bytes:
        bar = ProgressBar(found.download_bytes, found.downloaded_bytes, width=_BAR)
        table.add_row("  bytes", bar, f"{found.downloaded_bytes}/{found.download_bytes}")
    whole = Table.grid()
    whole.add_row(Text(head(found), style="bold"))
    whole.add_row(table)
    whole.add_row(Text(tail(found)))
    return whole


def head(found: Any) -> str:
    """Return id, version and state."""
    back = f" (rolls back {found.rolls_back})" if found.rolls_back else ""
    return f"{found.id}{back}  → {safe(found.version)}  {name(found)}  wave {found.wave + 1} of {len(found.spec.waves)}"


def tail(found: Any) -> str:
    """Return the counts, and the failures against the halt limit."""
    return "   ".join(_tail(found))


def _tail(found: Any) -> Iterator[str]:
    counts = found.counts
    shown = " · ".join(f"{getattr(counts, each)} {words(each)}" for each in _COUNTED if getattr(counts, each))
    failures = counts.reverted + counts.failed + counts.timed_out
    halts = "" if found.final else f", halts at {found.halt_at + found.acknowledged_failures}"
    yield shown or "no devices"
    yield f"failures {failures}/{found.wave_target}{halts}"
    if found.reason:
        yield safe(found.reason)


def words(name: str) -> str:
    """Return the display form of a count or stage."""
    return name.replace("_", " ")


def parts(found: Any) -> tuple[str, ...]:
    """Return the parts of `line`, which stay unbroken on a narrow terminal."""
    return (head(found), *_tail(found))


def line(found: Any) -> str:
    """Return a rollout as one line."""
    return "   ".join(parts(found))


def name(found: Any) -> str:
    """Return the state in lower case."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    return pb.RolloutState.Name(found.state).removeprefix("ROLLOUT_STATE_").lower()


def rollout_data(found: Any) -> dict[str, Any]:
    """Return a rollout as JSON data."""
    counts = {each: getattr(found.counts, each) for each in (*_COUNTED, "total")}
    return {
        "id": found.id,
        "version": found.version,
        "release_id": found.spec.release_id,
        "state": name(found),
        "reason": found.reason,
        "wave": found.wave,
        "waves": len(found.spec.waves),
        "wave_target": found.wave_target,
        "halt_at": found.halt_at,
        "rolls_back": found.rolls_back,
        "counts": counts,
        "acknowledged_failures": found.acknowledged_failures,
        "final": found.final,
        "downloaded_bytes": found.downloaded_bytes,
        "download_bytes": found.download_bytes,
    }
