"""Reports of a device's programs to the registry: complete, once, by one replica, and again after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.chassis.errors import StoreUnavailableError
from services.loki.programs import placement
from services.loki.programs.lifecycle import State
from services.loki.programs.manager import DesiredInstance
from services.loki.programs.model import Version
from services.loki.programs.placement import Deployment, Ref, Target
from services.loki.programs.ports import InstanceStatus
from services.loki.programs.twins import TwinProgram, TwinReporter, twin_program, within_budget

V1, V2 = Version((1, 0, 0)), Version((1, 1, 0))
BLINK = Deployment("blink", "blink", V1, Target(selector="zone=hall"), update_time_s=100.0)
DESIRED = DesiredInstance(BLINK, V1, None)


class Registry:
    """A registry that can be away."""

    def __init__(self) -> None:
        self.twins: dict[str, Sequence[TwinProgram]] = {}
        self.calls: list[tuple[str, int]] = []
        self.away = False

    async def report(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> None:
        if self.away:
            raise StoreUnavailableError("away")
        self.calls.append((device_id, as_of))
        self.twins[device_id] = programs

    async def devices(self) -> set[str]:
        return {device for device, programs in self.twins.items() if programs}


class Mirror:
    """Records."""

    def __init__(self) -> None:
        self.instances: dict[str, InstanceStatus] = {}
        self.as_of = 1

    def put(self, device: str, state: State, version: Version | None = V1, **fields: str) -> None:
        ref = Ref("blink", device)
        self.instances[ref.key] = InstanceStatus(ref, "blink", version, state, **fields)  # type: ignore[arg-type]
        self.as_of += 1


class Bench:
    """A reporter and its surroundings."""

    def __init__(self, replica: str = "one") -> None:
        self.registry, self.mirror, self.desired = Registry(), Mirror(), dict[Ref, DesiredInstance]()
        self.reporter = TwinReporter(replica, self.mirror, lambda: self.desired, list, self.registry)

    def deploy(self, *devices: str) -> None:
        self.desired = {Ref("blink", device): DESIRED for device in devices}
        self.reporter.touch(None)


async def test_report_has_all_programs_and_is_sent_once() -> None:
    bench = Bench()
    bench.deploy("porch-1", "porch-2")
    assert await bench.reporter.report_due(["one"])
    assert [one.state for one in bench.registry.twins["porch-1"]] == [State.LOADED]
    bench.mirror.put("porch-1", State.RUNNING)
    bench.reporter.touch("porch-1")
    bench.reporter.touch(None)
    assert await bench.reporter.report_due(["one"])
    assert bench.registry.calls == [("porch-1", 1), ("porch-2", 1), ("porch-1", 2)]
    assert bench.registry.twins["porch-1"][0].reported_version == "1.0.0"


async def test_report_is_empty_when_the_last_program_is_gone() -> None:
    bench = Bench()
    bench.deploy("porch-1")
    await bench.reporter.report_due(["one"])
    bench.deploy()
    await bench.reporter.report_due(["one"])
    assert bench.registry.twins["porch-1"] == ()


async def test_starting_replica_clears_leftovers_of_dead_one() -> None:
    bench = Bench()
    bench.registry.twins["porch-9"] = (twin_program(DESIRED, None),)
    await bench.reporter.report_due(["one"])
    assert bench.registry.twins["porch-9"] == ()


async def test_unavailable_registry_only_delays_reports() -> None:
    bench = Bench()
    await bench.reporter.report_due(["one"])
    bench.registry.away = True
    bench.deploy("porch-1")
    assert not await bench.reporter.report_due(["one"])
    bench.registry.away = False
    assert await bench.reporter.report_due(["one"])
    assert bench.registry.calls == [("porch-1", 1)]


async def test_one_replica_reports_a_device_and_another_takes_over() -> None:
    devices = [f"porch-{n}" for n in range(40)]
    one, two = Bench("one"), Bench("two")
    two.registry = one.registry
    two.reporter = TwinReporter("two", two.mirror, lambda: two.desired, list, one.registry)
    for bench in (one, two):
        bench.deploy(*devices)
        await bench.reporter.report_due(["one", "two"])
    assert sorted(device for device, _ in one.registry.calls) == sorted(devices)
    mine = {device for device in devices if placement.owner(f"twin.{device}", ["one", "two"]) == "one"}
    assert 0 < len(mine) < len(devices)
    one.registry.calls.clear()
    await one.reporter.report_due(["one"])
    assert {device for device, _ in one.registry.calls} == set(devices) - mine


@pytest.mark.parametrize(
    ("state", "reported", "problem"),
    [
        (State.RUNNING, "1.0.0", ""),
        (State.SUSPENDED, "1.0.0", "three errors"),
        (State.REFUSED, "", "it has no sensor.radar"),
        (State.STOPPED, "", ""),
    ],
)
def test_twin_program_has_a_reported_version_only_while_running(state: State, reported: str, problem: str) -> None:
    status = InstanceStatus(Ref("blink", "porch-1"), "blink", V1, state, problem)
    report = twin_program(DESIRED, status)
    assert (report.reported_version, report.problem, report.desired_version) == (reported, problem, "1.0.0")


def test_twin_program_of_a_canary_desires_its_version() -> None:
    report = twin_program(replace(DESIRED, version=V2), InstanceStatus(Ref("blink", "p"), "blink", V1, State.RUNNING))
    assert (report.desired_version, report.reported_version) == ("1.1.0", "1.0.0")


def test_twin_program_keeps_reported_values_while_stopped() -> None:
    status = InstanceStatus(Ref("blink", "porch-1"), "blink", V1, State.STOPPED, reported={"n": 1})
    assert twin_program(DESIRED, status).reported == {"n": 1}


def test_within_budget_drops_reported_values_beyond_the_limit() -> None:
    one = replace(twin_program(DESIRED, None), reported={"k": "x" * 4000})
    kept = [program.reported for program in within_budget([one] * 100)]
    assert kept[:60] == [one.reported] * 60
    assert kept[70:] == [{}] * 30
