"""Every example, run unchanged: its result, its log and its effect on the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.values import Value
from services.loki.model import Language, Level
from tests.integration.loki.conftest import Lab
from ygg.templates import TEMPLATES

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
LANGUAGE = {".lua": Language.LUA, ".scm": Language.SCHEME}
TESTED = {"alarm.scm", "blink.lua", "ramp.lua", "sensors.scm", "sweep.lua", "watch.scm"}


async def example(lab: Lab, name: str, device: str = "porch-1", **arguments: Value) -> Value:
    path = EXAMPLES / name
    return await lab.value(LANGUAGE[path.suffix], path.read_text(), name=name, device=device, arguments=arguments)


async def test_no_example_is_left_out(lab: Lab) -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in LANGUAGE} == TESTED


async def test_blink(lab: Lab) -> None:
    assert await example(lab, "blink.lua") == "led0 on → off → on"
    assert lab.porch.state["led0.on"] is True
    assert [entry.message for entry in lab.log] == ["it is 23.5 °C at porch-1"]


async def test_alarm_below_the_limit(lab: Lab) -> None:
    lab.porch.state["led0.on"] = True
    assert await example(lab, "alarm.scm") == "23.5 °C is under 75 °C: no alarm"
    assert lab.porch.state["led0.on"] is False
    assert lab.publisher.messages == []


async def test_alarm_above_the_limit(lab: Lab) -> None:
    lab.porch.state["temp0.celsius"] = 80.5
    assert await example(lab, "alarm.scm") == "80.5 °C is at or over 75 °C: alarm, led0 on"
    assert lab.porch.state["led0.on"] is True
    assert lab.publisher.messages == [("alarm", "alarm", {"celsius": 80.5, "limit": 75})]


async def test_alarm_with_its_own_limit(lab: Lab) -> None:
    assert await example(lab, "alarm.scm", limit=20.5) == "23.5 °C is at or over 20.5 °C: alarm, led0 on"


async def test_sweep(lab: Lab) -> None:
    lab.cellar.state["temp0.celsius"] = 12.0
    assert await example(lab, "sweep.lua", device="") == {
        "text": "porch-1 is warmest: 23.5 °C",
        "readings": {"porch-1": 23.5, "cellar-1": 12.0},
    }


async def test_sweep_of_some_and_of_none(lab: Lab) -> None:
    got = await example(lab, "sweep.lua", device="", selector="zone=cellar")
    assert isinstance(got, dict)
    assert got["readings"] == {"cellar-1": 23.5}
    assert await example(lab, "sweep.lua", device="", selector="zone=moon") == {"text": "no thermometer is online"}


async def test_ramp(lab: Lab) -> None:
    assert await example(lab, "ramp.lua", seconds=0) == "brightness 100 %, then 3 blinks"
    assert lab.porch.blinks == 3
    assert "ARGUMENT_NOT_IN_CONTRACT" in lab.log[0].message


async def test_sensors(lab: Lab) -> None:
    readings = {"hum0.percent": 41.0, "temp0.celsius": 23.5}
    assert await example(lab, "sensors.scm") == readings
    assert [entry.message for entry in lab.log] == ["hum0.percent 41.0 %", "temp0.celsius 23.5 Cel"]
    assert lab.publisher.messages == [("sensors", "readings", readings)]


async def test_watch(lab: Lab) -> None:
    assert await example(lab, "watch.scm", seconds=0) == "between 23.5 and 23.5 °C, 0 readings missed"


async def test_watch_of_an_unknown_device(lab: Lab) -> None:
    assert await example(lab, "watch.scm", device="shed-1", seconds=0) == "no reading at all"
    assert [entry.level for entry in lab.log] == [Level.WARNING]


@pytest.mark.parametrize("language", [Language.LUA, Language.SCHEME], ids=["lua", "scheme"])
async def test_script_from_ygg_script_new_runs(lab: Lab, language: Language) -> None:
    _, source = TEMPLATES[language.value]
    for device in ("porch-1", "cellar-1"):
        got = await lab.value(language, source, device=device, arguments={"seconds": 0})
        assert isinstance(got, str)
        assert ("led0 was on" if device == "porch-1" else "no LED") in got
