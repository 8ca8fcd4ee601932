"""What loki tells the registry of a device's programs: all of it, once, by one replica, and again where that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.chassis.errors import StoreUnavailableError
from services.loki.programs import placement
from services.loki.programs.lifecycle import State
from services.loki.programs.manager import Wanted
from services.loki.programs.model import Version
from services.loki.programs.placement import Deployment, Ref, Target
from services.loki.programs.ports import InstanceStatus
from services.loki.programs.twins import TwinProgram, TwinTeller, told_of, within_budget

V1, V2 = Version((1, 0, 0)), Version((1, 1, 0))
BLINK = Deployment("blink", "blink", V1, Target(selector="zone=hall"), update_time_s=100.0)
WANTED = Wanted(BLINK, V1, None)


class Registry:
    """A registry that can be away."""

    def __init__(self) -> None:
        self.twins: dict[str, Sequence[TwinProgram]] = {}
        self.calls: list[tuple[str, int]] = []
        self.away = False

    async def tell(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> None:
        if self.away:
            raise StoreUnavailableError("away")
        self.calls.append((device_id, as_of))
        self.twins[device_id] = programs

    async def told(self) -> set[str]:
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
    """A teller and what is around it."""

    def __init__(self, replica: str = "one") -> None:
        self.registry, self.mirror, self.wanted = Registry(), Mirror(), dict[Ref, Wanted]()
        self.teller = TwinTeller(replica, self.mirror, lambda: self.wanted, list, self.registry)

    def deploy(self, *devices: str) -> None:
        self.wanted = {Ref("blink", device): WANTED for device in devices}
        self.teller.touch(None)


async def test_all_programs_of_a_device_are_told_and_what_is_the_same_is_not_told_again() -> None:
    bench = Bench()
    bench.deploy("porch-1", "porch-2")
    assert await bench.teller.look(["one"])
    assert [one.state for one in bench.registry.twins["porch-1"]] == [State.LOADED]
    bench.mirror.put("porch-1", State.RUNNING)
    bench.teller.touch("porch-1")
    bench.teller.touch(None)
    assert await bench.teller.look(["one"])
    assert bench.registry.calls == [("porch-1", 1), ("porch-2", 1), ("porch-1", 2)]
    assert bench.registry.twins["porch-1"][0].reported_version == "1.0.0"


async def test_a_device_that_has_no_program_any_more_is_told_so() -> None:
    bench = Bench()
    bench.deploy("porch-1")
    await bench.teller.look(["one"])
    bench.deploy()
    await bench.teller.look(["one"])
    assert bench.registry.twins["porch-1"] == ()


async def test_what_was_left_over_by_a_replica_that_died_is_cleared_by_the_one_that_starts() -> None:
    bench = Bench()
    bench.registry.twins["porch-9"] = (told_of(WANTED, None),)
    await bench.teller.look(["one"])
    assert bench.registry.twins["porch-9"] == ()


async def test_a_registry_that_is_away_costs_nothing_but_time() -> None:
    bench = Bench()
    await bench.teller.look(["one"])
    bench.registry.away = True
    bench.deploy("porch-1")
    assert not await bench.teller.look(["one"])
    bench.registry.away = False
    assert await bench.teller.look(["one"])
    assert bench.registry.calls == [("porch-1", 1)]


async def test_one_replica_tells_for_a_device_and_takes_over_what_another_leaves() -> None:
    devices = [f"porch-{n}" for n in range(40)]
    one, two = Bench("one"), Bench("two")
    two.registry = one.registry
    two.teller = TwinTeller("two", two.mirror, lambda: two.wanted, list, one.registry)
    for bench in (one, two):
        bench.deploy(*devices)
        await bench.teller.look(["one", "two"])
    assert sorted(device for device, _ in one.registry.calls) == sorted(devices)
    mine = {device for device in devices if placement.owner(f"twin.{device}", ["one", "two"]) == "one"}
    assert 0 < len(mine) < len(devices)
    one.registry.calls.clear()
    await one.teller.look(["one"])
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
def test_only_what_runs_has_a_reported_version(state: State, reported: str, problem: str) -> None:
    status = InstanceStatus(Ref("blink", "porch-1"), "blink", V1, state, problem)
    told = told_of(WANTED, status)
    assert (told.reported_version, told.problem, told.desired_version) == (reported, problem, "1.0.0")


def test_a_canary_is_what_is_desired_where_it_is_tried() -> None:
    told = told_of(replace(WANTED, version=V2), InstanceStatus(Ref("blink", "p"), "blink", V1, State.RUNNING))
    assert (told.desired_version, told.reported_version) == ("1.1.0", "1.0.0")


def test_what_a_program_reports_of_itself_is_told_also_while_it_is_stopped() -> None:
    status = InstanceStatus(Ref("blink", "porch-1"), "blink", V1, State.STOPPED, reported={"n": 1})
    assert told_of(WANTED, status).reported == {"n": 1}


def test_what_programs_report_beyond_the_bound_of_a_twin_is_left_out() -> None:
    one = replace(told_of(WANTED, None), reported={"k": "x" * 4000})
    kept = [program.reported for program in within_budget([one] * 100)]
    assert kept[:60] == [one.reported] * 60
    assert kept[70:] == [{}] * 30
