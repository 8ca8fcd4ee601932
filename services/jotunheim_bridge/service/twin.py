"""Twin state of one session: reports of the device not yet in the registry, and the deltas sent to the device.

      ContractNotice ─► GATHERING ──last report──► SETTLING ──registry response: TwinDelta──► LIVE
                            ▲     newer desired state is deferred until then, only the newest    │
                            └───────────── CapabilityUpdate, then its ContractNotice ◄───────────┘
      LIVE:  TwinReport ─► pending, the newest of each property ─► the registry, one request at a time
             desired    ─► TwinDelta with the changes since the last delivered revision

Nothing here awaits; `TwinSync` does the I/O. Bounded by the properties of the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.domain.contract import LinkTerms
from services.domain.twin import Path, Report
from services.domain.values import Value
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import twin
from services.jotunheim_bridge.model.negotiation import Agreement
from services.jotunheim_bridge.ports import Desired
from services.jotunheim_bridge.service.meter import Meter
from yggdrasil.device.v1 import link_pb2 as link


@dataclass(frozen=True, slots=True)
class PendingReport:
    """A report for the registry, and the round of this session that it belongs to."""

    round: int
    contract_revision: int
    properties: Mapping[Path, Report]
    answers: int
    complete: bool


class DeviceTwin:
    """The twin of a session with the feature."""

    __slots__ = (
        *("_agreed", "_terms", "_meter", "_round", "_reports", "_answers", "_complete", "_settled", "_deferred"),
        *("_delivered", "_sent", "_retry"),
    )

    def __init__(self, agreed: Agreement, terms: LinkTerms, meter: Meter) -> None:
        self._terms, self._meter = terms, meter
        self._round = self._delivered = 0
        self._deferred: Desired | None = None
        self._sent: dict[Path, tuple[Value, int]] = {}
        self._retry: dict[Path, None] = {}
        self.restart(agreed)

    def restart(self, agreed: Agreement) -> None:
        """Start a new round for another contract: the device reports everything again."""
        self._agreed = agreed
        self._round += 1
        self._reports: dict[Path, Report] = {}
        self._answers = 0
        self._complete = self._settled = False
        self._sent.clear()
        self._retry.clear()

    def on_report(self, report: link.TwinReport) -> None:
        """Merge a report of the device; raises LinkError if it violates the protocol or exceeds the rate."""
        self._meter.count()
        if report.version > self._delivered:
            raise LinkError(
                link.GOODBYE_CODE_PROTOCOL_ERROR, f"a report that answers {report.version}, which was not sent"
            )
        if report.complete and self._complete:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a second complete report under one contract")
        for path, (state, busy) in twin.states(self._agreed, report).items():
            self._reports[path] = state
            _, version = self._sent.get(path, (None, 0))
            if busy and version == report.version:
                self._retry[path] = None
            elif report.version >= version:
                self._sent.pop(path, None)
                self._retry.pop(path, None)
        self._answers = max(self._answers, report.version)
        self._complete = self._complete or report.complete

    def take_report(self) -> PendingReport | None:
        """Return and remove the pending report, or None; call `on_reported` or `on_report_failed` before the next."""
        if not self._complete or (self._settled and not self._reports):
            return None
        contract = self._agreed.contract.revision
        found = PendingReport(
            self._round, contract, self._reports, self._answers if self._settled else 0, not self._settled
        )
        self._reports, self._answers = {}, 0
        return found

    def on_report_failed(self, due: PendingReport) -> None:
        """Merge a report that failed back into the pending one."""
        if due.round == self._round:
            self._reports = {**due.properties, **self._reports}
            self._answers = max(due.answers, self._answers)

    def on_reported(self, due: PendingReport, revision: int, delta: Mapping[Path, Value]) -> list[link.Frame]:
        """Process the registry's response; return the frames for the device."""
        if due.round != self._round or not due.complete:
            return []
        self._settled = True
        frames = self._deliver(revision, delta)
        missed, self._deferred = self._deferred, None
        return frames if missed is None else frames + self.on_desired(missed)

    def on_desired(self, now: Desired) -> list[link.Frame]:
        """Process a change of the desired state; return the frames for the device."""
        if not self._settled:
            if self._deferred is None or now.revision > self._deferred.revision:
                self._deferred = now
            return []
        new = {path: value for path, (value, revision) in now.values.items() if revision > self._delivered}
        return self._deliver(now.revision, new)

    def _deliver(self, revision: int, desired: Mapping[Path, Value]) -> list[link.Frame]:
        self._delivered = max(self._delivered, revision)
        values = twin.settable(self._agreed, desired)
        self._sent.update((path, (value, revision)) for path, value in values.items())
        for path in values:
            self._retry.pop(path, None)
        return list(twin.deltas(self._agreed, revision, values, self._terms.device_rx_frame_bytes))

    @property
    def has_retries(self) -> bool:
        """Whether the device was too busy for a delta that is to be sent again."""
        return bool(self._retry)

    def retries(self) -> list[link.Frame]:
        """Return the frames for values that the device was too busy for."""
        by_version: dict[int, dict[Path, Value]] = {}
        for path in self._retry:
            value, version = self._sent[path]
            by_version.setdefault(version, {})[path] = value
        self._retry.clear()
        limit = self._terms.device_rx_frame_bytes
        return [
            frame
            for version, values in sorted(by_version.items())
            for frame in twin.deltas(self._agreed, version, values, limit)
        ]
