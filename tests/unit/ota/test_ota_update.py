"""One device and its update: what each thing that it says changes."""

from __future__ import annotations

import pytest

from services.ota.model import update as rules
from services.ota.model.update import Device, LastUpdate, OtaStatus, Outcome, Reason, Stage, State, Update

OLD, NEW = "a" * 64, "b" * 64
IDLE = OtaStatus(state=State.IDLE, image_sha256=OLD)
NOTHING = LastUpdate(0, Outcome.UNSPECIFIED, Reason.UNSPECIFIED)


def device(stage: Stage = Stage.DOWNLOADING, *, delta: bool = False, full_only: bool = False) -> Device:
    return Device("d-1", IDLE, Update(7, "r-1", "rel", 0.0, stage, size_bytes=1000, delta=delta, full_only=full_only))


def stage(found: Device) -> Stage:
    assert found.update is not None
    return found.update.stage


def test_one_active_update_a_device() -> None:
    with pytest.raises(ValueError, match="already has an active update"):
        rules.assign(device(), Update(8, "r-2", "rel", 0.0))
    assert rules.assign(device(Stage.REVERTED), Update(8, "r-2", "rel", 0.0)).busy


def test_the_way_to_confirmed() -> None:
    found = rules.offered(device(Stage.ASSIGNED))
    assert stage(found) is Stage.OFFERED
    found = rules.after_accept(found, 7, 256, delta=True)
    assert found.update is not None
    assert (found.update.stage, found.update.written_bytes, found.update.delta) == (Stage.DOWNLOADING, 256, True)
    found = rules.after_result(found, 7, Outcome.PENDING, Reason.UNSPECIFIED, "")
    assert stage(found) is Stage.TRIAL
    trial = OtaStatus(state=State.TRIAL, image_sha256=NEW)
    found = rules.after_status(found, trial, LastUpdate(7, Outcome.PENDING, Reason.UNSPECIFIED), NEW)
    assert stage(found) is Stage.TRIAL
    idle = OtaStatus(state=State.IDLE, image_sha256=NEW)
    assert (
        stage(rules.after_status(found, idle, LastUpdate(7, Outcome.CONFIRMED, Reason.UNSPECIFIED), NEW))
        is Stage.CONFIRMED
    )


def test_success_without_running_image_is_ignored() -> None:
    last = LastUpdate(7, Outcome.CONFIRMED, Reason.UNSPECIFIED)
    assert stage(rules.after_status(device(Stage.TRIAL), IDLE, last, NEW)) is Stage.TRIAL
    assert stage(rules.after_result(device(Stage.TRIAL), 7, Outcome.CONFIRMED, Reason.UNSPECIFIED, "")) is Stage.TRIAL


def test_running_image_confirms_update_after_failure() -> None:
    idle = OtaStatus(state=State.IDLE, image_sha256=NEW)
    for found in (rules.failed(device(), "no"), rules.timed_out(device(), 900), rules.stopping(device(), "halted")):
        assert stage(rules.after_status(found, idle, NOTHING, NEW)) is Stage.CONFIRMED


def test_bytes_of_a_confirmed_device_are_whole() -> None:
    idle = OtaStatus(state=State.IDLE, image_sha256=NEW, image_size_bytes=1000)
    for before in (device(), device(Stage.TRIAL), device(Stage.TIMED_OUT)):
        found = rules.after_status(rules.after_progress(before, 7, 500), idle, NOTHING, NEW).update
        assert found
        assert (found.written_bytes, found.size_bytes) == (1000, 1000)
    never_offered = Device("d-1", IDLE, Update(7, "r-1", "rel", 0.0))
    found = rules.after_status(never_offered, idle, NOTHING, NEW).update
    assert found
    assert (found.written_bytes, found.size_bytes) == (1000, 1000)


def test_bytes_are_whole_on_trial_though_the_result_was_lost() -> None:
    trial = OtaStatus(state=State.TRIAL, image_sha256=NEW)
    found = rules.after_status(device(), trial, LastUpdate(7, Outcome.PENDING, Reason.UNSPECIFIED), NEW).update
    assert found
    assert (found.stage, found.written_bytes) == (Stage.TRIAL, 1000)


def test_a_device_that_timed_out_did_not_fall_back() -> None:
    found = rules.timed_out(device(), 900)
    assert (stage(found), found.fallen_back) == (Stage.TIMED_OUT, ())
    assert found.update
    assert found.update.why == "not finished within 900 s"
    last = LastUpdate(7, Outcome.REVERTED, Reason.SELF_TEST)
    found = rules.after_status(found, IDLE, last, NEW)  # it reports that afterwards
    assert (stage(found), found.fallen_back) == (Stage.REVERTED, ("rel",))


def test_failure_of_service_does_not_count_against_release() -> None:
    found = rules.failed(device(), "the floor was raised")
    assert (stage(found), found.fallen_back) == (Stage.FAILED, ())


def test_a_device_is_a_member_of_the_rollouts_that_started_it() -> None:
    found = rules.assign(device(Stage.CONFIRMED), Update(8, "r-2", "rel-2", 1.0))
    assert (found.member("r-1"), found.member("r-2"), found.member("r-3")) == (
        device(Stage.CONFIRMED).update,
        Update(8, "r-2", "rel-2", 1.0),
        None,
    )
    found = rules.assign(rules.failed(found, "x"), Update(9, "r-3", "rel-3", 2.0), keep=lambda each: each != "r-1")
    assert [each.rollout_id for each in found.past] == ["r-2"]


def test_a_device_is_in_so_many_rollouts_and_no_more() -> None:
    found = Device("d-1", past=tuple(Update(1, f"r-{i}", "rel", 0.0) for i in range(rules.MAX_PAST)))
    assert not rules.crowded(found, "r-new")
    found = rules.assign(found, Update(2, "r-new", "rel", 0.0, Stage.CONFIRMED))
    assert rules.crowded(found, "r-next")
    assert not rules.crowded(found, "r-new")
    assert not rules.crowded(found, "r-next", keep=lambda each: each != "r-0")


def test_a_revert_is_remembered() -> None:
    found = rules.after_status(device(Stage.TRIAL), IDLE, LastUpdate(7, Outcome.REVERTED, Reason.NOT_CONFIRMED), NEW)
    assert (stage(found), found.fallen_back) == (Stage.REVERTED, ("rel",))


def test_outcome_of_earlier_update_is_ignored() -> None:
    found = rules.after_status(device(Stage.TRIAL), IDLE, LastUpdate(6, Outcome.REVERTED, Reason.SELF_TEST), NEW)
    assert stage(found) is Stage.TRIAL


@pytest.mark.parametrize("reason", [Reason.PRECURSOR, Reason.PATCH])
def test_a_refused_patch_falls_back_to_the_image_once(reason: Reason) -> None:
    found = rules.after_reject(device(Stage.OFFERED), 7, reason, "")
    assert found.update is not None
    assert (found.update.stage, found.update.full_only) == (Stage.ASSIGNED, True)
    assert stage(rules.after_reject(device(Stage.OFFERED, full_only=True), 7, reason, "")) is Stage.FAILED


def test_wrong_patch_result_falls_back_to_full_image() -> None:
    found = rules.after_result(device(delta=True), 7, Outcome.FAILED, Reason.DIGEST, "")
    assert found.update is not None
    assert (found.update.stage, found.update.full_only) == (Stage.ASSIGNED, True)


def test_transient_failure_is_retried_up_to_a_limit() -> None:
    found = device()
    for _ in range(rules.MAX_ATTEMPTS - 1):
        found = rules.after_result(found, 7, Outcome.FAILED, Reason.TIMEOUT, "")
        assert stage(found) is Stage.ASSIGNED
    found = rules.after_result(found, 7, Outcome.FAILED, Reason.TIMEOUT, "")
    assert (stage(found), found.fallen_back) == (Stage.TIMED_OUT, ())


@pytest.mark.parametrize(
    "reason", [Reason.SIGNATURE, Reason.ROOT, Reason.SECURITY_COUNTER, Reason.DEVICE_CLASS, Reason.EXPIRED]
)
def test_untrusted_image_fails_without_retry(reason: Reason) -> None:
    found = rules.after_reject(device(Stage.OFFERED), 7, reason, "no")
    assert (stage(found), found.fallen_back) == (Stage.FAILED, ("rel",))


def test_stop_ends_unoffered_updates_and_asks_others() -> None:
    assert stage(rules.stopping(device(Stage.ASSIGNED), "halted")) is Stage.STOPPED
    asked = rules.stopping(device(), "halted")
    assert asked.update is not None
    assert (asked.update.stage, asked.update.stop) == (Stage.DOWNLOADING, True)
    ended = rules.after_result(asked, 7, Outcome.FAILED, Reason.ABORTED, "")
    assert ended.update is not None
    assert (ended.update.stage, ended.update.why, ended.fallen_back) == (Stage.STOPPED, "halted", ())
    assert rules.stopping(device(Stage.TRIAL), "halted") == device(Stage.TRIAL)
    assert rules.stopped(device()) == device()  # no stop was requested


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.SIGNATURE, Reason.PATCH, Reason.ABORTED])
def test_stopping_device_is_stopped_after_any_result(reason: Reason) -> None:
    asked = rules.after_accept(rules.stopping(device(Stage.OFFERED), "halted"), 7, 0, delta=False)
    for found in (
        rules.after_result(asked, 7, Outcome.FAILED, reason, ""),
        rules.after_reject(asked, 7, reason, ""),
        rules.after_status(asked, IDLE, LastUpdate(7, Outcome.FAILED, reason), NEW),
        rules.timed_out(asked, 900),
        rules.stopped(asked),
    ):
        assert found.update is not None
        assert (found.update.stage, found.update.why, found.fallen_back) == (Stage.STOPPED, "halted", ())


def test_installed_image_can_be_stopped_before_boot() -> None:
    asked = rules.stopping(device(), "aborted")
    installed = OtaStatus(state=State.INSTALLED, image_sha256=OLD)
    found = rules.after_status(asked, installed, LastUpdate(7, Outcome.PENDING, Reason.UNSPECIFIED), NEW)
    assert found.update is not None
    assert (found.update.stage, found.update.stop) == (Stage.DOWNLOADING, True)


def test_a_device_that_gives_up_unasked_has_failed() -> None:
    """Else it would be started again, for ever."""
    assert stage(rules.after_result(device(), 7, Outcome.FAILED, Reason.ABORTED, "")) is Stage.FAILED


def test_progress_is_stored_by_quarters() -> None:
    found = rules.after_progress(device(), 7, 249)
    assert found == device()
    found = rules.after_progress(found, 7, 251)
    assert found.update is not None
    assert found.update.written_bytes == 251
    assert rules.after_progress(found, 8, 900) == found


def test_report_of_another_update_changes_nothing() -> None:
    assert rules.after_accept(device(), 8, 0, delta=False) == device()
    assert rules.after_reject(device(), 8, Reason.FLASH, "") == device()
    assert rules.after_result(device(), 8, Outcome.FAILED, Reason.FLASH, "") == device()


def test_numbers_are_those_of_the_link() -> None:
    from yggdrasil.device.v1 import ota_pb2 as pb

    for ours, theirs, prefix in (
        (State, pb.OtaState, "OTA_STATE_"),
        (Outcome, pb.OtaOutcome, "OTA_OUTCOME_"),
        (Reason, pb.OtaCode, "OTA_CODE_"),
    ):
        assert {f"{prefix}{each.name}": each.value for each in ours} == dict(theirs.items())
