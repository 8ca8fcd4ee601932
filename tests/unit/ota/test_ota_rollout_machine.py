"""Two rollouts over one fleet, in every order of user actions, device actions and time: the invariants.

The records are those of the service, changed by its own rules; only stores and links are left out. A device obeys:
it installs its offer unless it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.ota.errors import RolloutStateError
from services.ota.model import rollout as rules
from services.ota.model import update as updates
from services.ota.model.rollout import ALL, Candidate, Counts, Rollout, RolloutState, Spec, Wave
from services.ota.model.update import Device, LastUpdate, OtaStatus, Outcome, Reason, Stage, State, Update

SIZE = 5
TIMEOUT_S = 100
ROLLOUTS = ("r-a", "r-b")
IMAGES = {"": "0" * 64, "r-a": "a" * 64, "r-b": "b" * 64}
DEVICES = st.integers(0, SIZE - 1)
WHICH = st.sampled_from(ROLLOUTS)


class Machine(RuleBasedStateMachine):
    """`runs` is the devices' own truth; `withdrawn` are updates that a person ended before they were accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.ids = 1000.0, 0
        names = [f"d-{i}" for i in range(SIZE)]
        self.devices = {name: Device(name) for name in names}
        self.online = dict.fromkeys(names, True)
        self.matches = dict.fromkeys(names, True)
        self.runs = dict.fromkeys(names, "")
        self.rollouts = {
            "r-a": Rollout("r-a", Spec("rel-a", waves=(Wave(count=1), ALL), halt_count=1, device_timeout_s=100), 0.0),
            "r-b": Rollout("r-b", Spec("rel-b", halt_count=2, late_joiners=True, device_timeout_s=100), 0.0),
        }
        self.scopes = {"r-a": set(names[:-1]), "r-b": set(names[:-1])}
        self.started: list[tuple[str, str]] = []
        self.withdrawn: set[int] = set()
        self.reverted: set[tuple[str, str]] = set()
        self.finals: dict[str, Counts] = {}

    # --- the service

    def candidates(self, rollout: Rollout) -> list[Candidate]:
        found = []
        for name, device in self.devices.items():
            update = device.member(rollout.id)
            if update is None and not self.matches[name]:
                continue
            past = None if update is device.update else update
            late = name not in self.scopes[rollout.id]
            found.append(Candidate(name, self.online[name], device.update, "", past, late))
        return found

    @rule(which=WHICH)
    def round(self, which: str) -> None:
        rollout = self.rollouts[which]
        step = rules.step(rollout, self.candidates(rollout), self.now)
        self.rollouts[which] = step.rollout
        for name in step.expire:
            self.change(name, which, partial(updates.timed_out, timeout_s=TIMEOUT_S))
        for name in step.stop:
            self.change(name, which, partial(updates.stopping, why="stop"))
        assert not step.start or step.rollout.state is RolloutState.RUNNING
        for name in step.start:
            before = self.devices[name].member(which)
            assert before is None or before.stage is Stage.STOPPED, "started twice"
            assert before in (None, self.devices[name].update), "started again, though another rollout has it"
            assert before or self.matches[name], "started by a label that it does not have"
            assert before or name in self.scopes[which] or rollout.spec.late_joiners, "a late joiner did not wait"
            self.ids += 1
            update = Update(self.ids, which, rollout.spec.release_id, self.now, size_bytes=10)
            self.devices[name] = updates.assign(self.devices[name], update, self.keeps)
            self.started.append((which, name))

    def keeps(self, which: str) -> bool:
        return self.rollouts[which].final is None

    def change(self, name: str, which: str, change: updates.Change) -> None:
        update = self.devices[name].update
        if update and update.rollout_id == which:
            self.devices[name] = change(self.devices[name])

    # --- people

    @rule(which=WHICH, what=st.sampled_from(["pause", "resume", "approve"]))
    def control(self, which: str, what: str) -> None:
        rollout = self.rollouts[which]
        failures = rules.count(rollout, self.candidates(rollout)).failures
        changes: dict[str, Callable[[Rollout], Rollout]] = {
            "pause": rules.pause,
            "resume": partial(rules.resume, failures=failures),
            "approve": rules.approve,
        }
        try:
            self.rollouts[which] = changes[what](rollout)
        except RolloutStateError:
            assert what == "approve" or self.rollouts[which].ended or rollout.state is RolloutState.HALTED

    @rule(which=WHICH)
    def abort(self, which: str) -> None:
        rollout = self.rollouts[which]
        if rollout.ended:
            return
        self.rollouts[which] = rules.abort(rollout, "anna")
        members = [d.member(which) for d in self.devices.values()]
        self.withdrawn |= {u.id for u in members if u and u.stage in (Stage.ASSIGNED, Stage.OFFERED)}

    @rule(name=DEVICES)
    def relabel(self, name: int) -> None:
        self.matches[f"d-{name}"] = not self.matches[f"d-{name}"]

    # --- devices and time

    @rule(name=DEVICES)
    def goes_or_comes(self, name: int) -> None:
        self.online[f"d-{name}"] = not self.online[f"d-{name}"]

    @rule(name=DEVICES)
    def takes_an_offer(self, name: int) -> None:
        """A new session: it reports its status and loads its offer, as Relay.status does."""
        device = self.devices[f"d-{name}"]
        update = device.update
        if not self.online[f"d-{name}"] or update is None or not update.stage.stoppable:
            return
        if self.rollouts[update.rollout_id].state in (RolloutState.ABORTED, RolloutState.HALTED):
            device = updates.stopping(device, "stop")
        assert device.update
        if device.update.stop or not device.update.stage.stoppable:
            device = updates.stopped(device)
        else:
            device = updates.after_accept(updates.offered(device), update.id, 0, delta=False)
        self.devices[device.device_id] = device

    @rule(name=DEVICES, ends=st.sampled_from(["boots", "breaks", "is stopped"]))
    def loads(self, name: int, ends: str) -> None:
        device = self.devices[f"d-{name}"]
        update = device.update
        if not self.online[f"d-{name}"] or update is None or update.stage is not Stage.DOWNLOADING:
            return
        if ends == "boots":
            assert update.id not in self.withdrawn, "it boots an update that was aborted before its offer"
            device = updates.after_result(device, update.id, Outcome.PENDING, Reason.UNSPECIFIED, "")
        elif ends == "breaks":
            device = updates.after_result(device, update.id, Outcome.FAILED, Reason.CHUNK, "")
        elif update.stop:
            device = updates.after_result(device, update.id, Outcome.FAILED, Reason.ABORTED, "")
        self.devices[device.device_id] = device

    @rule(name=DEVICES, good=st.booleans())
    def ends_its_trial(self, name: int, good: bool) -> None:
        device = self.devices[f"d-{name}"]
        update = device.update
        if update is None or update.stage is not Stage.TRIAL:
            return
        if good:
            self.runs[device.device_id] = update.rollout_id
        else:
            self.reverted.add((device.device_id, update.release_id))
        outcome = Outcome.CONFIRMED if good else Outcome.REVERTED
        standing = OtaStatus(state=State.IDLE, image_sha256=IMAGES[self.runs[device.device_id]], image_size_bytes=10)
        last = LastUpdate(update.id, outcome, Reason.UNSPECIFIED)
        self.devices[device.device_id] = updates.after_status(device, standing, last, IMAGES[update.rollout_id])

    @rule(seconds=st.sampled_from([1, TIMEOUT_S + 1]))
    def passes(self, seconds: int) -> None:
        self.now += seconds

    # --- invariants

    @invariant()
    def each_device_counts_once(self) -> None:
        for rollout in self.rollouts.values():
            counts = rules.count(rollout, self.candidates(rollout))
            if rollout.final is None:
                candidates = self.candidates(rollout)
                assert counts.total + counts.unfit + counts.late == len(candidates)
                assert counts.started <= len([c for c in candidates if rules.update_in(rollout, c)])

    @invariant()
    def whoever_was_started_is_a_member_for_good(self) -> None:
        for which, name in self.started:
            assert self.rollouts[which].final or self.devices[name].member(which)

    @invariant()
    def what_is_final_stays(self) -> None:
        for which, rollout in self.rollouts.items():
            if rollout.final is not None:
                assert self.finals.setdefault(which, rollout.final) == rollout.final
                assert rollout.ended
                assert not rollout.final.active

    @invariant()
    def bytes_of_whoever_runs_it_are_whole(self) -> None:
        for device in self.devices.values():
            for update in (device.update, *device.past):
                if update and update.stage in (Stage.TRIAL, Stage.CONFIRMED):
                    assert update.written_bytes == update.size_bytes

    @invariant()
    def only_what_a_device_tried_is_held_against_a_release(self) -> None:
        for device in self.devices.values():
            assert {(device.device_id, release) for release in device.fallen_back} <= self.reverted

    @precondition(lambda self: all(r.state is not RolloutState.PAUSED for r in self.rollouts.values()))
    @rule()
    def all_ends_well(self) -> None:
        """From anywhere: if people go on after each halt and devices do their part, every rollout comes to its end."""
        self.online = dict.fromkeys(self.online, True)
        for _ in range(80):
            for which, rollout in self.rollouts.items():
                if rollout.state is RolloutState.HALTED:
                    self.control(which, "resume")
                self.control(which, "approve")
                self.round(which)
            for index in range(SIZE):
                self.takes_an_offer(index)
                self.loads(index, "boots")
                self.ends_its_trial(index, good=True)
        assert all(r.ended or r.awaiting_late_joiners for r in self.rollouts.values()), self.rollouts


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRolloutMachine = Machine.TestCase
