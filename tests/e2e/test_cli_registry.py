"""Registry commands on a mesh with real agents: lifecycle, finding, contracts, enrolment, twins, backup."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.fakes.board import AGENT
from tests.fixtures.person import ROOT, Person, board
from tests.fixtures.wait import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]


def found(person: Person, *arguments: str) -> list[str]:
    return [device["id"] for device in person.json("device", "ls", *arguments)]


def says(person: Person, code: int, text: str, *arguments: str) -> None:
    done = person.ygg(*arguments)
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


@contextmanager
def agent(person: Person, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [str(AGENT), *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=(person.path / "agent.log").open("ab"),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_a_devices_life(kept: Person) -> None:
    says(kept, 0, "registered 2", "device", "register", "life-1", "life-2", "-l", "zone=lake", "--pending")
    assert found(kept, "-l", "zone=lake", "--state", "pending") == ["life-1", "life-2"]
    says(kept, 0, "life-1  active", "device", "activate", "life-1")
    says(kept, 0, "life-1  suspended", "device", "suspend", "life-1")
    assert found(kept, "-l", "zone=lake", "--state", "suspended", "--state", "active") == ["life-1"]
    says(kept, 0, "life-1  retired", "device", "retire", "life-1", "--yes")
    says(kept, 1, "life-1 is retired and cannot become active", "device", "activate", "life-1")
    says(kept, 2, "pass --yes", "device", "retire", "life-2")


def test_a_device_is_forgotten_unless_its_record_keeps_it_out(kept: Person) -> None:
    says(kept, 0, "registered 3", "device", "register", "gone-1", "gone-2", "gone-3", "-l", "zone=gone")
    says(kept, 0, "gone-1  deleted", "device", "rm", "gone-1", "gone-2", "--yes")
    assert found(kept, "-l", "zone=gone") == ["gone-3"]
    says(kept, 4, "there is no device gone-1", "device", "rm", "gone-1", "--yes")
    says(kept, 1, "porch-1 is online", "device", "rm", "porch-1", "--yes")
    says(kept, 0, "retired", "device", "retire", "gone-3", "--yes")
    says(kept, 1, "ygg device rm gone-3 --readmit", "device", "rm", "gone-3", "--yes")
    says(kept, 0, "deleted", "device", "rm", "gone-3", "--readmit", "--yes")
    says(kept, 2, "pass --yes", "device", "rm", "porch-1")


def test_an_asterisk_selects_every_device_in_every_command(kept: Person, tmp_path: Path) -> None:
    everyone = found(kept)
    assert found(kept, "-l", "*") == everyone
    kept.json("group", "set", "everyone", "*")
    assert [one["selector"] for one in kept.json("group", "ls") if one["name"] == "everyone"] == ["*"]
    assert found(kept, "--group", "everyone", "-l", "*") == everyone
    assert kept.json("device", "why", "porch-1", "-l", "*")[0]["matches"] is True
    kept.json("group", "rm", "everyone")
    called = kept.ygg("--json", "device", "call", "-l", "*", "--has", "actuator.led", "led0.off")
    assert {json.loads(line)["device"] for line in called.stdout.splitlines()} >= {"porch-1"}
    script = tmp_path / "on.lua"
    script.write_text("device.led0.on()\n")
    says(kept, 0, "", "program", "deploy", str(script), "-l", "*", "--as", "everywhere", "--stopped")
    says(kept, 0, "", "program", "unload", "everywhere")


def test_device_file_is_registered_and_faults_name_line(kept: Person, tmp_path: Path) -> None:
    file = tmp_path / "devices.ndjson"
    file.write_text('bulk-1\n\n{"id": "bulk-2", "labels": {"zone": "bulk"}}\nbulk-1\nBad_Id\n')
    done = kept.ygg("device", "register", "--file", str(file), "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["registered"], answer["failed"]) == (1, 2, 2)
    assert [(one["line"], one["device"], one["reason"]) for one in answer["failures"]] == [
        (4, "bulk-1", "DEVICE_EXISTS"),
        (5, "Bad_Id", "INVALID_ID"),
    ]
    assert found(kept, "-l", "zone=bulk") == ["bulk-2"]


def test_groups_and_why_a_device_is_not_among_those_found(kept: Person) -> None:
    kept.json("device", "label", "porch-1", "floor=1")
    kept.json("group", "set", "first", "floor=1", "-d", "the first floor")
    assert [group["name"] for group in kept.json("group", "ls")] == ["first"]
    assert found(kept, "--group", "first", "--has", "sensor.temperature@1+") == ["porch-1"]
    met = "sensor.temperature@1+"
    says(kept, 0, f"porch-1 matches: {met} by temp0", "device", "why", "porch-1", "--has", met)
    requirement = "actuator.led{brightness:% 0..200}"
    says(kept, 1, "range is 0 to 100 %, 0 to 200 is required", "device", "why", "porch-1", "--has", requirement)
    done = kept.ygg("device", "why", "porch-1", "porch-9", "--has", "sensor.temperature@9+", "--json")
    answer = json.loads(done.stdout)
    assert [one["failed"][0]["kind"] for one in answer] == ["version", "no_device"]
    assert answer[0]["failed"][0]["requirement"] == "sensor.temperature@9+"
    kept.json("group", "rm", "first")
    says(kept, 4, "there is no group first", "group", "rm", "first")


def test_invalid_selectors_and_requirements_have_position(kept: Person) -> None:
    says(kept, 2, "at position 13", "device", "ls", "-l", "zone in (hall")
    says(kept, 2, "at position 13", "device", "ls", "--has", "actuator.led@x")


def test_contracts_and_the_thing_description(kept: Person, td_schema: dict[str, Any]) -> None:
    assert [one["revision"] for one in kept.json("device", "contracts", "porch-1")] == [1]
    assert kept.json("device", "contract", "porch-1", "--revision", "1")["revision"] == 1
    says(kept, 4, "no contract revision 7: only revision 1 is kept", "device", "contract", "porch-1", "-r", "7")
    says(kept, 4, "no contract before revision 1 to compare with", "device", "diff", "porch-1")
    says(kept, 0, "no difference", "device", "diff", "porch-1", "1", "1")
    thing = json.loads(kept.ygg("device", "td", "porch-1").stdout)
    Draft7Validator(td_schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(thing)
    assert thing["properties"]["temp0.celsius"]["unit"] == "Cel"


def test_device_enrols_with_token_until_revoked(kept: Person, tmp_path: Path) -> None:
    made = kept.ygg("device", "token", "shed-1", "-l", "zone=shed", "--ttl", "10m")
    assert made.stdout.startswith("ygg1.shed-1.")
    assert "single use, for" in made.stderr
    link = kept.json("context", "show")["link"]
    options = ("--identity", str(tmp_path / "shed-1"), "--connect", link)
    with agent(kept, *options, YGG_AGENT_TOKEN=made.stdout.strip()):
        until(lambda: found(kept, "--online", "-l", "zone=shed") == ["shed-1"], within_s=30, what="shed-1 online")
        tokens = kept.json("device", "tokens", "shed-1")
        assert len(tokens) == 1
        assert tokens[0]["use_time"] and tokens[0]["serial"]
        assert kept.json("device", "revoke", "shed-1", "--yes")["revoke_time"]
        until(lambda: found(kept, "--offline", "-l", "zone=shed") == ["shed-1"], within_s=10, what="shed-1 offline")
    unused = kept.json("device", "token", "shed-2")
    kept.json("device", "tokens", "--delete", unused["id"])
    assert kept.json("device", "tokens", "shed-2") == []
    says(kept, 4, "there is no token", "device", "tokens", "--delete", unused["id"])


def test_a_session_is_ended_and_the_device_comes_back(kept: Person) -> None:
    before = kept.json("device", "show", "porch-2")["session_id"]
    assert kept.json("device", "disconnect", "porch-2")["session_id"] == before

    def back() -> bool:
        now = kept.json("device", "show", "porch-2")
        return bool(now["online"]) and now["session_id"] != before

    until(back, within_s=20, what="porch-2 back")


def test_many_devices_are_called_with_own_results(kept: Person) -> None:
    done = kept.ygg("device", "call", "porch-1", "porch-2", "life-9", "cnt0.add", "n=1", "--json")
    answers = {one["device"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    for device in ("porch-1", "porch-2"):
        assert answers[device]["results"] == {"count": int(board(kept, device).get(device, "cnt0.count"))}
    assert answers["life-9"]["error"]["reason"] == "DEVICE_NOT_FOUND"
    by_selector = kept.ygg("device", "call", "--has", "counter.tally@1+", "-l", "zone!=shed", "cnt0.add", "n=2")
    assert "porch-1  ok  count: " in by_selector.stdout
    assert "2 of 2 succeeded" in by_selector.stderr
    kept.json("device", "label", "porch-2", "floor=2")
    kept.json("group", "set", "second", "floor=2")
    grouped = kept.ygg("device", "call", "--group", "second", "cnt0.add", "n=1")
    assert (grouped.returncode, grouped.stdout[:12]) == (0, "porch-2  ok ")
    says(kept, 4, "group third not found", "device", "call", "--group", "third", "cnt0.add", "n=1")
    says(kept, 1, "no device", "device", "call", "-l", "zone=nowhere", "cnt0.add", "n=1")


def test_a_streamed_action_prints_each_answer(kept: Person) -> None:
    done = kept.ygg("device", "call", "porch-1", "cnt0.count_up", "to=3", "period_ms=10", "--json")
    assert [json.loads(line)["results"]["n"] for line in done.stdout.splitlines()] == [1, 2, 3]
    assert kept.ygg("device", "call", "porch-1", "cnt0.count_up", "to=2", "period_ms=10").stdout == "n: 1\nn: 2\n"


def test_a_repeat_under_another_boot_is_not_sent(kept: Person) -> None:
    before = board(kept, "porch-1").get("porch-1", "cnt0.count")
    repeat = ("--call-id", "boot-1", "--boot-id", "0" * 16)
    says(kept, 1, "has restarted since call boot-1", "device", "call", "porch-1", "cnt0.add", "n=1", *repeat)
    assert board(kept, "porch-1").get("porch-1", "cnt0.count") == before


def test_a_twin_is_set_by_words_and_by_file_and_refused_in_words(kept: Person, tmp_path: Path) -> None:
    first = kept.json("twin", "set", "porch-1", "led0.brightness=40%", "led0.on=true")
    assert first["desired"] == {"led0": {"brightness": 40, "on": True}}
    revision = first["revision"]
    says(kept, 5, "led0.brightness: brightness is 400", "twin", "set", "porch-1", "led0.brightness=400")
    says(kept, 5, "the unit 'Cel', the contract has '%'", "twin", "set", "porch-1", "led0.brightness=4Cel")
    stale = ("--revision", str(revision + 1))
    says(kept, 1, f"porch-1 is at revision {revision}", "twin", "set", "porch-1", "led0.on=", *stale)
    file = tmp_path / "desired.json"
    file.write_text('{"led0": {"brightness": 41}}')
    second = kept.json("twin", "set", "porch-1", "--file", str(file), "--replace", "--revision", str(revision))
    assert second["desired"] == {"led0": {"brightness": 41}}
    history = [one for one in kept.json("twin", "history", "porch-1") if one["side"] == "desired"]
    assert [one["changed"] for one in history[:1]] == [["led0.brightness", "led0.on"]]
    assert history[0]["author"] == "ygg://main/user/operator"
    assert kept.json("twin", "get", "porch-1")["revision"] == second["revision"]


def test_watched_twin_is_printed_as_ndjson(kept: Person) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "ygg", "--json", "twin", "watch", "porch-2"],
        env=kept.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    kept.json("twin", "set", "porch-2", "led0.brightness=7")
    seen = json.loads(watch.stdout.readline())
    while seen["desired"] != {"led0": {"brightness": 7}}:
        seen = json.loads(watch.stdout.readline())
    watch.send_signal(signal.SIGINT)
    assert watch.wait(20) == 130


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Person]:
    """An empty mesh of another user."""
    person = Person(tmp_path)
    started = person.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stdout + started.stderr
    yield person
    person.ygg("down")
    until(lambda: not person.processes(), what="processes of the other mesh gone")


def test_backup_is_restored_into_an_empty_mesh(kept: Person, elsewhere: Person, tmp_path: Path) -> None:
    file = tmp_path / "mesh.ndjson"
    backup = kept.json("backup", str(file))
    assert backup["records"] > 5
    assert file.stat().st_mode & 0o077 == 0
    lines = file.read_text().splitlines()
    assert len(lines) == backup["records"] + 1
    cut = tmp_path / "cut.ndjson"
    cut.write_text("\n".join(lines[:3]) + "\n")
    says(elsewhere, 1, "truncated: no trailer after line 3", "restore", str(cut))
    assert found(elsewhere) == []
    damaged = tmp_path / "damaged.ndjson"
    damaged.write_text("\n".join([*lines[:2], "{" + lines[2], *lines[3:]]) + "\n")
    says(elsewhere, 1, "line 3 is not valid JSON", "restore", str(damaged))
    first = elsewhere.json("restore", str(file))
    assert (first["written"] + first["equal"], first["different"]) == (backup["records"], 0)
    again = elsewhere.json("restore", str(file))
    assert (again["written"], again["equal"]) == (0, backup["records"])
    assert elsewhere.ygg("backup", "-").stdout.splitlines() == lines
    assert sorted(found(elsewhere)) == sorted(found(kept))
    elsewhere.json("device", "label", "porch-1", "zone=other")
    says(elsewhere, 1, "device porch-1", "restore", str(file))
    assert elsewhere.json("restore", str(file), "--overwrite")["written"] == 1
