"""Converts messages of rollouts, releases and reports to the model and back."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis import codec, trust_codec
from services.ota.model import rollout as rules
from services.ota.model.release import Release
from services.ota.model.rollout import Counts, RolloutState, Spec, Wave
from services.ota.model.update import LastUpdate, OtaStatus, Outcome, Reason, State
from services.ota.service.fleet import MemberUpdate
from services.ota.service.relay import Response
from services.ota.service.rollouts import View
from yggdrasil.device.v1 import ota_pb2 as link
from yggdrasil.ota.v1 import relay_pb2, release_pb2
from yggdrasil.ota.v1 import rollout_pb2 as pb


def moment(unix_s: float) -> Timestamp | None:
    """Return a Timestamp; None for 0."""
    return codec.timestamp(datetime.fromtimestamp(unix_s, UTC)) if unix_s else None


def release(found: Release) -> release_pb2.Release:
    """Return the message of a release."""
    manifest = found.manifest
    return release_pb2.Release(
        id=found.id,
        device_class=manifest.device_class,
        version=manifest.version,
        sequence=manifest.sequence,
        security_counter=manifest.security_counter,
        image_sha256=found.image_sha256,
        image_size_bytes=manifest.image_size_bytes,
        slot_size_bytes=manifest.slot_size_bytes,
        create_time=moment(found.signed.create_unix_s),
        expire_time=moment(manifest.expires_unix_s),
        envelope=found.signed.envelope,
    )


def spec(message: pb.RolloutSpec) -> Spec:
    """Parse a rollout spec; zero fields get their default."""
    return Spec(
        release_id=message.release_id,
        selector=message.selector,
        waves=tuple(Wave(wave.count, wave.percent) for wave in message.waves) or (rules.ALL,),
        soak_s=message.soak_s,
        halt_count=message.halt_count,
        halt_percent=message.halt_percent or rules.DEFAULT_HALT_PERCENT,
        rate_per_minute=message.rate_per_minute,
        approval=message.approval,
        retry_failed=message.retry_failed,
        late_joiners=message.late_joiners,
        roll_back_on_halt=message.roll_back_on_halt,
        device_timeout_s=message.device_timeout_s or rules.DEFAULT_TIMEOUT_S,
    )


def spec_to_proto(found: Spec) -> pb.RolloutSpec:
    """Return the message of a spec."""
    waves = [pb.Wave(percent=w.percent) if w.percent else pb.Wave(count=w.count) for w in found.waves]
    return pb.RolloutSpec(
        release_id=found.release_id,
        selector=found.selector,
        waves=waves,
        soak_s=found.soak_s,
        halt_count=found.halt_count,
        halt_percent=found.halt_percent,
        rate_per_minute=found.rate_per_minute,
        approval=found.approval,
        retry_failed=found.retry_failed,
        late_joiners=found.late_joiners,
        roll_back_on_halt=found.roll_back_on_halt,
        device_timeout_s=found.device_timeout_s,
    )


def state(found: RolloutState) -> pb.RolloutState.ValueType:
    """Return the enum value of a rollout state."""
    return pb.RolloutState.Value(f"ROLLOUT_STATE_{found.name}")


def counts(found: Counts) -> pb.RolloutCounts:
    """Return the message of the counts."""
    return pb.RolloutCounts(
        total=found.total,
        waiting=found.waiting,
        downloading=found.downloading,
        trial=found.trial,
        confirmed=found.confirmed,
        reverted=found.reverted,
        failed=found.failed,
        unfit=found.unfit,
        timed_out=found.timed_out,
        stopped=found.stopped,
        late=found.late,
    )


def rollout(view: View) -> pb.Rollout:
    """Return the message of a rollout."""
    found = view.rollout
    return pb.Rollout(
        id=found.id,
        spec=spec_to_proto(found.spec),
        state=state(found.state),
        reason=found.reason,
        wave=found.wave,
        wave_target=view.wave_target,
        halt_at=view.halt_at,
        counts=counts(view.counts),
        version=view.version,
        create_time=moment(found.create_unix_s),
        rolls_back=found.rolls_back,
        downloaded_bytes=view.written_bytes,
        download_bytes=view.download_bytes,
        acknowledged_failures=min(found.acknowledged, view.counts.failures),
        final=found.final is not None,
    )


def update(found: MemberUpdate) -> pb.DeviceUpdate:
    """Return the message of a member's update."""
    return pb.DeviceUpdate(
        device_id=found.device_id,
        stage=found.stage.value,
        written_bytes=found.written_bytes,
        size_bytes=found.size_bytes,
        reason=found.why,
        delta=found.delta,
        start_time=moment(found.started_unix_s),
    )


def status(request: relay_pb2.ReportRequest) -> OtaStatus:
    """Parse the device's OTA status, from its OtaStatus and its Hello."""
    status = request.status
    return OtaStatus(
        request.device_class,
        request.rx_frame_bytes,
        _state(int(status.state)),
        status.image_sha256.hex(),
        status.image_size_bytes,
        status.sequence,
        status.security_counter,
        status.root_version,
        status.slot_size_bytes,
        status.patch_formats,
        status.newest_sequence,
    )


def _state(number: int) -> State:
    return State(number) if number in list(State) else State.UNSPECIFIED


def last_update(status: link.OtaStatus) -> LastUpdate:
    """Parse the part of OtaStatus about the last update."""
    return LastUpdate(status.update_id, outcome(status.outcome), reason(status.code))


def outcome(number: int) -> Outcome:
    """Parse an outcome; unknown ones become UNSPECIFIED."""
    return Outcome(number) if number in list(Outcome) else Outcome.UNSPECIFIED


def reason(number: int) -> Reason:
    """Parse a reason; unknown ones become UNSPECIFIED."""
    return Reason(number) if number in list(Reason) else Reason.UNSPECIFIED


def response(found: Response) -> relay_pb2.ReportResponse:
    """Return the message of a response to a device."""
    offer = found.offer
    if offer is None:
        return relay_pb2.ReportResponse(abort_update_id=found.abort)
    manifest = offer.release.manifest
    delta = trust_codec.delta_to_proto(offer.delta) if offer.delta else None
    return relay_pb2.ReportResponse(
        offer=relay_pb2.Offer(
            offer=link.OtaOffer(update_id=offer.update_id, roots=len(offer.roots), delta=delta),
            roots=offer.roots,
            timestamp=offer.timestamp,
            release=offer.release.signed.envelope,
            image_sha256=manifest.image_sha256,
            image_size_bytes=manifest.image_size_bytes,
            chunk_size_bytes=manifest.chunk_size_bytes,
        )
    )
