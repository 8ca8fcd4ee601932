"""Rollouts in random orders of what people, devices, labels, the registry and time do, through the real use cases."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from services.domain.errors import YggError
from services.ota.model import rollout as rules
from services.ota.model.rollout import RolloutState, Wave
from services.ota.model.update import LastUpdate, Outcome, Reason, Stage, State
from tests.fakes.ota_keys import image_of
from tests.fakes.ota_world import World

NAMES = [f"d-{i}" for i in range(5)]
STEPS = 120
NOT_OFFERED = (RolloutState.ABORTED, RolloutState.HALTED)


class Order:
    """One order of events, by a seed. `runs` is what each device runs: the number of its release."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.runs = dict.fromkeys(NAMES, 1)
        self.loading: dict[str, tuple[int, int]] = {}  # device → update, release
        self.releases: dict[str, int] = {}
        self.rollouts: list[str] = []
        self.records: dict[str, Any] = {}

    async def begin(self) -> None:
        for number in (1, 2, 3):
            self.releases[await self.world.release(number, image_of(f"v{number}"))] = number
        for name in NAMES:
            await self.world.device(name)

    async def person_starts(self) -> None:
        if len(self.rollouts) < 6:
            spec: dict[str, Any] = {
                "halt_count": self.chance.choice([1, 2, 9]),
                "late_joiners": self.chance.random() < 0.3,
                "approval": self.chance.random() < 0.3,
                "roll_back_on_halt": self.chance.random() < 0.3,
                "device_timeout_s": 60,
            }
            release = self.chance.choice([r for r, number in self.releases.items() if number > 1])
            waves = self.chance.choice([(rules.ALL,), (Wave(count=1), rules.ALL)])
            self.rollouts.append(await self.world.start(release, waves=waves, **spec))

    async def person_controls(self) -> None:
        changes = [
            lambda r, _: rules.pause(r),
            lambda r, c: rules.resume(r, c.failures),
            lambda r, _: rules.abort(r, "anna"),
            lambda r, _: rules.approve(r),
        ]
        which = self.chance.choice([row.key for row in self.world.table.rows()])
        await self.world.rollouts.control(which, self.chance.choice(changes), "changed")

    async def person_rolls_back(self) -> None:
        await self.world.rollouts.roll_back(self.chance.choice(self.rollouts), "")

    async def labels_change(self) -> None:
        self.world.registry.zones[self.chance.choice(NAMES)] = self.chance.choice(["hall", "attic"])

    async def registry_goes_or_comes(self) -> None:
        self.world.registry.away = not self.world.registry.away

    async def device_goes(self) -> None:
        name = self.chance.choice(NAMES)
        self.world.goes(name)
        self.loading.pop(name, None)

    async def device_says(self) -> None:
        name = self.chance.choice(NAMES)
        row = self.world.devices.get(name)
        update = row.value.update if row else None
        last = LastUpdate(update.id if update else 0, Outcome.PENDING, Reason.UNSPECIFIED)
        state = self.chance.choice([State.IDLE, State.PARTIAL])
        number = self.runs[name]
        answer = await self.world.comes(name, last, image=image_of(f"v{number}"), state=state, sequence=number)
        self.loading.pop(name, None)
        if answer.offer:
            update = self.world.update(name)
            assert self.world.state(update.rollout_id) not in NOT_OFFERED, "a withdrawn update is offered"
            assert not update.stop
            await self.world.relay.accept(name, update.id, 0, delta=False)
            self.loading[name] = update.id, self.releases[update.release_id]

    async def device_ends(self) -> None:
        if not self.loading:
            return
        name = self.chance.choice(list(self.loading))
        update_id, number = self.loading[name]
        if (await self.world.relay.progress(name, update_id, self.chance.randrange(5000))).abort:
            self.loading.pop(name)
            await self.world.relay.result(name, update_id, Outcome.FAILED, Reason.ABORTED, "")
            return
        if self.chance.random() < 0.5:
            return
        self.loading.pop(name)
        await self.world.relay.result(name, update_id, Outcome.PENDING, Reason.UNSPECIFIED, "")
        good = self.chance.random() < 0.7
        self.runs[name] = number if good else self.runs[name]
        last = LastUpdate(update_id, Outcome.CONFIRMED if good else Outcome.REVERTED, Reason.UNSPECIFIED)
        runs = self.runs[name]
        await self.world.comes(name, last, image=image_of(f"v{runs}"), sequence=runs)

    async def time_passes(self) -> None:
        self.world.clock += self.chance.choice([1, 5, 61])

    async def conductor_works(self) -> None:
        await self.world.rounds(1)

    async def check(self) -> None:
        for row in self.world.table.rows():
            if row.value.final is None:
                continue
            view = await self.world.rollouts.get(row.key)
            record = view, await self.world.rollouts.updates(row.key)
            assert self.records.setdefault(row.key, record) == record, "a record has changed"
            stages = [each.stage for each in record[1]]
            assert not any(stage.active for stage in stages)
            assert stages.count(Stage.CONFIRMED) == view.counts.confirmed
            assert len(stages) == view.counts.started


@pytest.mark.parametrize("seed", range(40))
async def test_rollouts_hold_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    order = Order(World(), chance)
    await order.begin()
    await order.person_starts()
    often = [order.conductor_works, order.device_says, order.device_ends, order.time_passes] * 4
    seldom = [
        order.person_starts,
        order.person_controls,
        order.person_rolls_back,
        order.labels_change,
        order.registry_goes_or_comes,
        order.device_goes,
    ]
    for _ in range(STEPS):
        with contextlib.suppress(YggError):  # a person may be refused, the registry away
            await chance.choice(often + seldom)()
        await order.check()
    assert order.rollouts
