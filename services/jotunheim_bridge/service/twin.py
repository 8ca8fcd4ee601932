"""One session's part in its device's twin: what the device said and the registry has not heard, and what it was told.

      ContractNotice ─► GATHERING ──last report──► SETTLING ──the registry has answered: TwinDelta──► LIVE
                            ▲     what is desired meanwhile is kept until then, its newest state only   │
                            └───────────────── CapabilityUpdate, then its ContractNotice ◄──────────────┘
      LIVE:  TwinReport ─► waits, the newest of each property ─► the registry, one request at a time
             desired    ─► TwinDelta of what came after the revision that was delivered last

Nothing here awaits; `TwinSync` carries it to and fro. Bounded by the properties of the contract.
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
    """What the registry is to be told, and in which round of this session it was said."""

    round: int
    contract_revision: int
    properties: Mapping[Path, Report]
    answers: int
    complete: bool


class DeviceTwin:
    """The twin of a session whose device has the feature."""

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
        """There is another contract, or will be: the device reports everything again."""
        self._agreed = agreed
        self._round += 1
        self._reports: dict[Path, Report] = {}
        self._answers = 0
        self._complete = self._settled = False
        self._sent.clear()
        self._retry.clear()

    def on_report(self, report: link.TwinReport) -> None:
        """What the device says; raises LinkError where it is nonsense, or too much."""
        self._meter.count()
        if report.version > self._delivered:
            raise LinkError(
                link.GOODBYE_CODE_PROTOCOL_ERROR, f"a report that answers {report.version}, which was not sent"
            )
        if report.complete and self._complete:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a second complete report under one contract")
        for path, (said, busy) in twin.states(self._agreed, report).items():
            self._reports[path] = said
            _, version = self._sent.get(path, (None, 0))
            if busy and version == report.version:
                self._retry[path] = None
            elif report.version >= version:
                self._sent.pop(path, None)
                self._retry.pop(path, None)
        self._answers = max(self._answers, report.version)
        self._complete = self._complete or report.complete

    def take_report(self) -> PendingReport | None:
        """What the registry is to be told now, taken: it is `answered` or `failed` before the next is asked for."""
        if not self._complete or (self._settled and not self._reports):
            return None
        contract = self._agreed.contract.revision
        found = PendingReport(
            self._round, contract, self._reports, self._answers if self._settled else 0, not self._settled
        )
        self._reports, self._answers = {}, 0
        return found

    def on_report_failed(self, due: PendingReport) -> None:
        """The registry did not hear it: it is due again, with what was said since."""
        if due.round == self._round:
            self._reports = {**due.properties, **self._reports}
            self._answers = max(due.answers, self._answers)

    def on_reported(self, due: PendingReport, revision: int, delta: Mapping[Path, Value]) -> list[link.Frame]:
        """The registry has heard it; gives the frames that the device is to get."""
        if due.round != self._round or not due.complete:
            return []
        self._settled = True
        frames = self._deliver(revision, delta)
        missed, self._deferred = self._deferred, None
        return frames if missed is None else frames + self.on_desired(missed)

    def on_desired(self, now: Desired) -> list[link.Frame]:
        """What is desired has changed; gives the frames that the device is to get now."""
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
        """Whether the device had too much to do for something that it was told."""
        return bool(self._retry)

    def retries(self) -> list[link.Frame]:
        """The frames for what the device had too much to do for."""
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
