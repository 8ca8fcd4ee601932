"""A rollout as `ygg ota` shows it: a line, a panel with bars, data."""

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
    """A rollout as a person watches it: one bar a wave, one for the bytes, the counts."""
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
    """Id, version, state."""
    back = f" (back from {found.rolls_back})" if found.rolls_back else ""
    return f"{found.id}{back}  → {safe(found.version)}  {name(found)}  wave {found.wave + 1} of {len(found.spec.waves)}"


def tail(found: Any) -> str:
    """The counts, and how near a halt is."""
    return "   ".join(_tail(found))


def _tail(found: Any) -> Iterator[str]:
    counts = found.counts
    said = " · ".join(f"{getattr(counts, each)} {words(each)}" for each in _COUNTED if getattr(counts, each))
    failures = counts.reverted + counts.failed + counts.timed_out
    halts = "" if found.final else f", halts at {found.halt_at + found.acknowledged_failures}"
    yield said or "no device"
    yield f"failures {failures}/{found.wave_target}{halts}"
    if found.reason:
        yield safe(found.reason)


def words(name: str) -> str:
    """A count or a stage as people read it."""
    return name.replace("_", " ")


def parts(found: Any) -> tuple[str, ...]:
    """What `line` says, in parts that stay together where a terminal is narrower."""
    return (head(found), *_tail(found))


def line(found: Any) -> str:
    """A rollout in one line."""
    return "   ".join(parts(found))


def name(found: Any) -> str:
    """Its state as a word."""
    from yggdrasil.ota.v1 import rollout_pb2 as pb

    return pb.RolloutState.Name(found.state).removeprefix("ROLLOUT_STATE_").lower()


def as_data(found: Any) -> dict[str, Any]:
    """A rollout for programs."""
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
