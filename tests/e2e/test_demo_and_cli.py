"""The program of `make demo` on real parts, and the command line against its mesh."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.board import AGENT
from tests.fixtures.person import ROOT, Person, board
from tests.fixtures.wait import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]


def test_the_demo_does_the_main_job_and_leaves_nothing(tmp_path: Path) -> None:
    person = Person(tmp_path)
    done = person.demo()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("  mesh ready in ") for line in lines)
    assert sum("negotiated 6 capabilities in" in line and "actuator.siren@1" in line for line in lines) == 2
    assert any("examples/blink.lua" in line and "led0 on → off → on" in line for line in lines)
    assert any("examples/alarm.scm" in line and "no alarm" in line for line in lines)
    assert "read from the boards" in done.stdout
    figures = json.loads((tmp_path / "demo.json").read_text())
    metrics = {metric["key"]: metric for metric in figures["metrics"]}
    assert sorted(metrics) == ["call_ms", "lua_ms", "mesh_ready_s", "negotiate_ms", "scheme_ms"]
    assert all(0 < metric["ours"] < 60_000 for metric in metrics.values())
    until(lambda: not person.processes(), what="processes of the demo gone")
    assert list(person.temporary.iterdir()) == []
    assert not (tmp_path / "home").exists()


def test_failed_device_fails_the_demo_and_keeps_logs(tmp_path: Path) -> None:
    person = Person(tmp_path)
    done = person.demo("--agent", "/bin/false")
    assert done.returncode == 1
    assert "✗ porch-" in done.stderr
    assert (tmp_path / "demo-logs" / "registry.log").exists()
    until(lambda: not person.processes(), what="processes of the demo gone")
    assert list(person.temporary.iterdir()) == []


def test_a_script_with_a_wrong_result_fails_the_demo(tmp_path: Path) -> None:
    person = Person(tmp_path)
    examples = tmp_path / "examples"
    examples.mkdir()
    # It reports that it switched the LED, but did not.
    (examples / "blink.lua").write_text('return "led0 on → off → on"')
    done = person.demo("--examples", str(examples))
    assert done.returncode == 1
    assert "led0 of porch-1 should be on; the board reads off" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_interrupted_or_killed_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    person = Person(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "ygg", "demo", "--figures", str(tmp_path / "demo.json")],
        env=person.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: list(person.temporary.glob("*/mesh/run/mesh.json")), within_s=30)
    process.send_signal(number)
    _, errors = process.communicate(timeout=40)
    assert process.returncode == (130 if number is signal.SIGINT else -number)
    assert "Traceback" not in errors
    until(lambda: not person.processes(), within_s=30, what="processes of the demo gone")
    assert list(person.temporary.iterdir()) == []


def test_devices_are_listed_by_capability_label_and_presence(kept: Person) -> None:
    assert [d["id"] for d in kept.json("device", "ls", "--has", "actuator.led@1+", "--online")] == [
        "porch-1",
        "porch-2",
    ]
    assert kept.json("device", "ls", "--has", "actuator.siren") == []
    assert kept.json("device", "label", "porch-2", "zone=hall")["labels"] == {"zone": "hall"}
    assert [d["id"] for d in kept.json("device", "ls", "-l", "zone=hall")] == ["porch-2"]
    assert kept.json("device", "label", "porch-2", "zone-")["labels"] == {}


def test_contract_is_shown_with_refused_capabilities(kept: Person) -> None:
    contract = kept.json("device", "show", "porch-1")["contract"]
    assert contract["policy"] == "demo"
    assert [refused["type"] for refused in contract["refused"]] == ["actuator.siren"]
    text = kept.ygg("device", "show", "porch-1").stdout
    assert "blink(times 1…20, period_ms 50…5000 ms)" in text


def test_reading_writing_and_calling_reach_the_board(kept: Person) -> None:
    here = board(kept, "porch-1")
    assert kept.json("device", "write", "porch-1", "led0.on=off", "led0.brightness=40")["written"] == {
        "led0.on": False,
        "led0.brightness": 40,
    }
    assert (here.get("porch-1", "led0.on"), here.get("porch-1", "led0.brightness")) == ("off", "40")
    here.set("porch-1", "temp0.celsius", "-3.25")
    assert kept.json("device", "read", "porch-1", "temp0.celsius")["values"] == {"temp0.celsius": -3.25}
    assert kept.ygg("device", "read", "porch-1", "temp0.celsius").stdout == "-3.25 °C\n"
    before = int(here.get("porch-1", "cnt0.count"))
    answer = kept.json("device", "call", "porch-1", "cnt0.add", "n=5")
    assert answer["results"] == {"count": before + 5}
    assert int(here.get("porch-1", "cnt0.count")) == before + 5


def test_value_with_unit_is_accepted_and_drift_is_shown(kept: Person, tmp_path: Path) -> None:
    here = board(kept, "porch-1")
    kept.json("twin", "set", "porch-1", "led0.brightness=40%")
    until(lambda: here.get("porch-1", "led0.brightness") == "40", what="the board is as desired")
    written = kept.ygg("device", "write", "porch-1", "led0.brightness=80 %")
    assert written.stdout == "led0.brightness = 80\n"
    keep = "ygg twin set porch-1 led0.brightness=80"
    assert (
        "The twin still desires led0.brightness=40, written again when porch-1 next connects. "
        f"To keep the new value:  {keep}" in (written.stderr.replace("\n", " "))
    )

    def state() -> str:
        found = kept.json("twin", "get", "porch-1")["properties"]
        return next("drifted" if one["drifted"] else "" for one in found if one["property"] == "led0.brightness")

    until(lambda: state() == "drifted", what="the twin shows the drift")
    shown = kept.ygg("twin", "get", "porch-1")
    assert "drifted" in shown.stdout
    assert "ygg twin set porch-1 led0.brightness=40" in shown.stderr
    script = tmp_path / "dim.lua"
    script.write_text('device:write("led0.brightness", args.level)')
    ran = kept.ygg("script", "run", str(script), "-d", "porch-1", "--arg", "level=25%")
    assert (ran.returncode, here.get("porch-1", "led0.brightness")) == (0, "25"), ran.stderr
    kept.json("twin", "set", "porch-1", "led0.brightness=")


def test_a_call_repeated_under_its_id_acts_once(kept: Person) -> None:
    before = int(board(kept, "porch-1").get("porch-1", "cnt0.count"))
    for _ in range(3):
        answer = kept.json("device", "call", "porch-1", "cnt0.add", "n=1", "--call-id", "mine-1")
        assert answer["call_id"] == "mine-1"
    assert int(board(kept, "porch-1").get("porch-1", "cnt0.count")) == before + 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["led0.blink", "times=3", "period_ms=9000"], 5, "period_ms is 9000, the contract allows 50 to 5000 ms"),
        (
            ["led0.blink", "times=three", "period_ms=90"],
            5,
            "times is three (string), the contract requires int, 1 to 20",
        ),
        (["led0.blink", "times=3"], 5, "led0.blink requires period_ms"),
        (["led0.blink", "times=3", "period_ms=90", "x=1"], 5, "led0.blink has no argument x"),
        (["led0.sing"], 5, "led0 of porch-1 has no action sing"),
        (["led7.on"], 5, "porch-1 has no capability led7"),
        (["siren0.wail"], 5, 'policy "demo" denies actuator.siren'),
    ],
)
def test_call_outside_contract_is_refused_with_reason(kept: Person, arguments: list[str], code: int, says: str) -> None:
    done = kept.ygg("device", "call", "porch-1", *arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "(FAILED_PRECONDITION, nothing was sent to the device)" in done.stderr


def test_an_unknown_device_and_a_device_that_hangs(kept: Person) -> None:
    unknown = kept.ygg("device", "call", "porch-9", "led0.blink")
    assert (unknown.returncode, "there is no device porch-9" in unknown.stderr) == (4, True)
    there = board(kept, "porch-2")
    there.ask("hang porch-2 on")
    try:
        hanging = kept.ygg("device", "call", "porch-2", "cnt0.add", "n=1", "--timeout", "2", "--call-id", "h-1")
    finally:
        there.ask("hang porch-2 off")
    assert hanging.returncode == 7, hanging.stderr
    assert "porch-2 did not respond within" in hanging.stderr
    assert "Repeat it with call_id h-1" in hanging.stderr


def test_templates_run_as_they_are(kept: Person, tmp_path: Path) -> None:
    for language, suffix in (("lua", "lua"), ("scheme", "scm")):
        command = [sys.executable, "-m", "ygg", "script", "new", "fresh", "--lang", language]
        made = subprocess.run(command, env=kept.environment, cwd=tmp_path, capture_output=True, check=False)
        assert made.returncode == 0
        answer = kept.json("script", "run", str(tmp_path / f"fresh.{suffix}"), "--device", "porch-1", "-a", "seconds=0")
        assert answer["value"].startswith("led0 was on for 0")
        assert any("temp0.celsius" in line["message"] for line in answer["logs"])


@pytest.mark.parametrize(
    ("name", "source", "code", "says"),
    [
        ("a.lua", "return 1 +", 1, "a.lua:1: "),
        ("a.scm", "(car '())", 1, "a.scm"),
        ("b.lua", "\nerror('boom')", 1, "b.lua:2: boom"),
        ("c.lua", "while true do end", 7, "did not end within"),
        ("d.lua", "device.led0.blink{times=3, period_ms=9000}", 5, "the contract allows 50 to 5000 ms"),
        ("e.lua", "return ygg.device('porch-9'):read('led0.on')", 4, "there is no device porch-9"),
    ],
)
def test_failed_scripts_report_position(
    kept: Person, tmp_path: Path, name: str, source: str, code: int, says: str
) -> None:
    (tmp_path / name).write_text(source)
    done = kept.ygg("script", "run", str(tmp_path / name), "--device", "porch-1", "--timeout", "1")
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_events_are_watched_as_ndjson(kept: Person) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "ygg", "--json", "device", "watch", "porch-1", "--kind", "event"],
        env=kept.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    os.set_blocking(watch.stdout.fileno(), False)
    lines: list[str] = []
    level = ["on"]

    def event_seen() -> bool:
        # The start of the watch is not observable: toggle the pin until an event arrives.
        board(kept, "porch-1").set("porch-1", "gpio0.pin2", level[0])
        level[0] = "off" if level[0] == "on" else "on"
        lines.extend(watch.stdout.readlines() if watch.stdout else [])
        return bool(lines)

    until(event_seen, within_s=20, what="an event")
    watch.send_signal(signal.SIGINT)
    assert watch.wait(20) == 130
    assert watch.stderr is not None
    assert watch.stderr.read() == ""
    event = json.loads(lines[0])
    assert (event["device_id"], event["capability"], event["name"]) == ("porch-1", "gpio0", "changed")
    assert event["fields"]["pin"] == 2


def test_status_counts_devices_and_sessions(kept: Person) -> None:
    notes = {line["service"]: line["note"] for line in kept.json("status")}
    assert notes["registry"] == "2 devices"
    assert notes["jotunheim_bridge"] == "2 sessions"
    assert "Lua" in notes["loki"]
