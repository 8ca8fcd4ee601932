"""The command as it is called: where options may stand, exit codes, contexts, errors as text and as JSON."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import RemoteError
from services.chassis.status import to_failure
from services.domain.errors import ArgumentError, Code, ContractError, InvalidRequestError, Reason
from ygg.cli.failure import describe, entry_of, show
from ygg.cli.run import hoist, run
from ygg.contexts import Context, Contexts
from ygg.exits import Exit
from ygg.home import Home
from ygg.output import duration, safe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("YGG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("YGG_CONTEXT", raising=False)
    monkeypatch.chdir(tmp_path)
    return Home.find()


Captured = pytest.CaptureFixture[str]


def json_of(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["device", "ls", "--json"], ["--json", "device", "ls"]),
        (["status", "--context", "compose"], ["--context", "compose", "status"]),
        (["status", "--context=compose", "--json"], ["--context=compose", "--json", "status"]),
        (["x", "--", "--json"], ["x", "--", "--json"]),
        (["x", "--context"], ["x", "--context"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], meant: list[str]) -> None:
    assert hoist(given) == meant


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], Exit.OK),
        (["nonsense"], Exit.USAGE),
        (["device", "call"], Exit.USAGE),
        (["pki", "issue", "robot", "x"], Exit.USAGE),
        (["pki", "issue", "device", "Porch"], Exit.USAGE),
        (["pki", "issue", "device", "a", "--days", "-3"], Exit.USAGE),
        (["pki", "show"], Exit.FAILED),
        (["context", "use", "nowhere"], Exit.NOT_FOUND),
        (["--context", "nowhere", "device", "ls"], Exit.NOT_FOUND),
        (["device", "ls"], Exit.DENIED),
        (["device", "call", "porch-1", "led0"], Exit.USAGE),
        (["device", "call", "porch-1", "led0.blink", "times"], Exit.USAGE),
        (["device", "label", "porch-1", "zone="], Exit.USAGE),
        (["device", "watch", "--kind", "nonsense"], Exit.USAGE),
        (["device", "ls", "--state", "asleep"], Exit.USAGE),
        (["device", "why", "porch-1"], Exit.USAGE),
        (["device", "register"], Exit.USAGE),
        (["device", "register", "a", "--file", "b"], Exit.USAGE),
        (["device", "register", "--file", "missing"], Exit.USAGE),
        (["device", "register", "a", "-l", "zone-"], Exit.USAGE),
        (["device", "retire", "porch-1"], Exit.USAGE),
        (["device", "revoke", "porch-1"], Exit.USAGE),
        (["device", "token", "porch-1", "--ttl", "31d"], Exit.USAGE),
        (["device", "token", "porch-1", "--ttl", "soon"], Exit.USAGE),
        (["device", "call", "led0.blink"], Exit.USAGE),
        (["device", "call", "a", "b", "led0.blink", "--call-id", "x"], Exit.USAGE),
        (["device", "write", "a", "led0.on=1", "led0.x=1", "--boot-id", "x"], Exit.USAGE),
        (["twin", "set", "porch-1"], Exit.USAGE),
        (["twin", "set", "porch-1", "led0.on"], Exit.USAGE),
        (["twin", "set", "porch-1", "--file", "missing"], Exit.USAGE),
        (["restore", "missing"], Exit.USAGE),
        (["restore", "."], Exit.USAGE),
        (["backup", "."], Exit.FAILED),
        (["backup", "no/such/folder/x"], Exit.FAILED),
        (["script", "run", "missing.lua"], Exit.USAGE),
        (["script", "new", "Bad-Name"], Exit.USAGE),
        (["down"], Exit.OK),
    ],
)
def test_exit_codes_mean_something(arguments: list[str], code: Exit, capsys: Captured) -> None:
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert bool(captured.err) is (code != Exit.OK)


def test_errors_are_json_when_results_are_json(capsys: Captured) -> None:
    assert run(["context", "use", "nowhere", "--json"]) == Exit.NOT_FOUND
    captured = capsys.readouterr()
    assert captured.out == ""
    error = json.loads(captured.err)["error"]
    assert error["exit"] == 4
    assert "nowhere" in error["message"]


def test_json_error_has_violations_and_retry_delay(capsys: Captured) -> None:
    show(describe(InvalidRequestError("page_size is 7", field="page_size")), as_json=True)
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["violations"] == [{"field": "page_size", "description": "page_size is 7"}]
    assert error["retry_after_s"] is None
    show(describe(RemoteError.of(Reason.STORE_UNAVAILABLE, "away")), as_json=True)
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["violations"], error["retry_after_s"], error["exit"]) == ([], 1.0, 3)


def test_json_of_one_outcome_has_all_of_its_error() -> None:
    failure = to_failure(RemoteError.of(Reason.DEVICE_OFFLINE, "it is offline", hint="Wait.", device="porch-1"))
    failure.violations.add(field="device_ids", description="it is offline")
    assert entry_of(failure) == {
        "reason": "DEVICE_OFFLINE",
        "message": "it is offline",
        "hint": "Wait.",
        "data": {"device": "porch-1"},
        "violations": [{"field": "device_ids", "description": "it is offline"}],
        "retry_after_s": 5.0,
    }


def test_the_default_context_is_this_machines_mesh(capsys: Captured) -> None:
    run(["context", "show", "--json"])
    shown = json_of(capsys)
    assert (shown["name"], shown["registry"], shown["link"]) == ("local", "127.0.0.1:50051", "127.0.0.1:7443")


def test_contexts_are_set_used_and_kept_private(home: Home, tmp_path: Path, capsys: Captured) -> None:
    assert run(["context", "set", "compose", "--identity", "me", "--registry", "10.0.0.1:50051"]) == Exit.OK
    assert run(["context", "use", "compose"]) == Exit.OK
    capsys.readouterr()
    run(["context", "show", "--json"])
    shown = json_of(capsys)
    assert shown["identity"] == str(tmp_path / "me")
    assert shown["registry"] == "10.0.0.1:50051"
    assert shown["loki"] == "127.0.0.1:50053"
    assert stat.S_IMODE(home.contexts.stat().st_mode) == 0o600
    run(["context", "set", "compose", "--loki", "10.0.0.1:50053"])
    capsys.readouterr()
    run(["context", "ls", "--json"])
    by_name = {entry["name"]: entry for entry in json_of(capsys)}
    assert by_name["compose"]["registry"] == "10.0.0.1:50051"
    assert by_name["compose"]["current"] and not by_name["local"]["current"]


def test_a_context_is_forgotten_and_local_takes_its_place(capsys: Captured) -> None:
    run(["context", "set", "compose", "--identity", "me"])
    run(["context", "use", "compose"])
    assert run(["context", "rm", "compose"]) == Exit.OK
    assert run(["context", "rm", "compose"]) == Exit.NOT_FOUND
    assert run(["context", "rm", "local"]) == Exit.USAGE
    capsys.readouterr()
    run(["context", "ls", "--json"])
    assert [(one["name"], one["current"]) for one in json_of(capsys)] == [("local", True)]


@pytest.mark.parametrize("endpoint", ["", "localhost", "localhost:0", "localhost:65536", "a b:1", "http://x:1"])
def test_a_bad_endpoint_is_refused_and_nothing_is_written(endpoint: str, home: Home) -> None:
    assert run(["context", "set", "x", "--registry", endpoint]) == Exit.USAGE
    assert not home.contexts.exists()


def test_broken_context_file_is_reported_and_kept(home: Home, capsys: Captured) -> None:
    home.path.mkdir()
    home.contexts.write_text("{")
    assert run(["context", "ls"]) == Exit.FAILED
    assert "cannot read" in capsys.readouterr().err
    assert home.contexts.read_text() == "{"


def test_a_context_may_name_a_whole_mesh_that_ygg_does_not_run(capsys: Captured) -> None:
    run(["context", "set", "compose", "--identity", "me"])
    assert run(["--context", "compose", "down"]) == Exit.FAILED
    assert "not managed by ygg" in capsys.readouterr().err


def test_grpcurl_flags_name_the_files_of_the_context(
    home: Home, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YGG_CA_PASSPHRASE", "correct horse battery")
    assert run(["grpcurl"]) == Exit.DENIED
    run(["pki", "init"])
    run(["pki", "issue", "user", "operator"])
    capsys.readouterr()
    assert run(["grpcurl"]) == Exit.OK
    folder = home.identity("user", "operator")
    expected = f"-cacert {folder}/services.pem -cert {folder}/cert.pem -key {folder}/key.pem"
    assert capsys.readouterr().out.strip() == expected


def test_bootstrap_is_idempotent_and_mends(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "mesh"
    assert run(["pki", "bootstrap", str(out), "--for", "compose", "--json"]) == Exit.OK
    assert len(json_of(capsys)["issued"]) == 10
    conf = (out / "nats" / "nats.conf").read_text()
    assert '"/identity/key.pem"' in conf
    assert '"/data"' in conf
    run(["pki", "bootstrap", str(out), "--json"])
    assert json_of(capsys)["issued"] == []
    (out / "identities" / "service" / "loki" / "key.pem").unlink()
    run(["pki", "bootstrap", str(out), "--json"])
    assert json_of(capsys)["issued"] == ["ygg://main/service/loki"]


def test_failed_backup_keeps_existing_file(tmp_path: Path) -> None:
    file = tmp_path / "mesh.ndjson"
    file.write_text("the one before")
    assert run(["backup", str(file)]) == Exit.DENIED
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mesh.ndjson", "the one before")]


def test_a_refusal_by_the_contract_reads_as_one(capsys: Captured) -> None:
    failure = describe(ArgumentError("period_ms is 9000, the contract allows 50 to 5000 ms"))
    assert failure is not None
    assert (failure.code, failure.note) == (Exit.REFUSED, "FAILED_PRECONDITION, nothing was sent to the device")
    assert describe(ContractError("x")) is not None


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (Code.NOT_FOUND, "DEVICE_NOT_FOUND", Exit.NOT_FOUND),
        (Code.UNAVAILABLE, "DEVICE_OFFLINE", Exit.UNREACHABLE),
        (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED", Exit.DENIED),
        (Code.DEADLINE_EXCEEDED, "DEADLINE", Exit.TIMEOUT),
        (Code.FAILED_PRECONDITION, "OTHER", Exit.FAILED),
        (Code.FAILED_PRECONDITION, "NOT_IN_CONTRACT", Exit.REFUSED),
        (Code.INTERNAL, "INTERNAL", Exit.FAILED),
    ],
)
def test_status_and_reason_decide_the_exit_code(code: Code, reason: str, exit_code: Exit) -> None:
    failure = describe(RemoteError(code, reason, "x"))
    assert failure is not None
    assert failure.code == exit_code


def test_text_of_the_mesh_cannot_drive_the_terminal() -> None:
    failure = describe(RemoteError(Code.NOT_FOUND, "X", "no \x1b[31mdevice\x07", hint="a\nb\x00"))
    assert failure is not None
    assert "\x1b" not in failure.message
    assert "\x07" not in failure.message
    assert failure.hint == "a\n  b?"


def test_a_fault_of_ours_shows_its_traceback_only_when_asked(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(home: Home) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ygg.cli.context.Contexts", broken)
    assert run(["context", "ls"]) == Exit.FAILED
    err = capsys.readouterr().err
    assert err.startswith("error: ygg itself failed: ZeroDivisionError\n")
    assert "Traceback" not in err
    monkeypatch.setenv("YGG_TRACEBACK", "1")
    assert run(["context", "ls"]) == Exit.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_missing_home_error_names_variable_to_set(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YGG_HOME")
    monkeypatch.setenv("HOME", "")
    assert run(["context", "ls"]) == Exit.FAILED
    assert "export YGG_HOME=DIR" in capsys.readouterr().err
    monkeypatch.setenv("YGG_HOME", "~nobody-of-this-name/x")
    assert run(["context", "ls"]) == Exit.FAILED
    assert "cannot expand" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["device", "register", "--file", "given"], "[" * 5000),
        (["device", "register", "--file", "given"], '{"id": "\\ud800"}'),
        (["twin", "set", "porch-1", "--file", "given"], '{"a": {"b": ' + "[" * 5000),
        (["twin", "set", "porch-1", "--file", "given"], '{"a": {"b": 99999999999999999999}}'),
        (["restore", "given"], "[" * 5000 + "\n"),
        (["restore", "given"], '{"group": {"name": "\\ud800"}}\n{"end": {"records": 1}}\n'),
    ],
)
def test_a_file_that_json_readers_choke_on_is_an_error(
    arguments: list[str], text: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "given").write_text(text)
    assert run(arguments) in (Exit.USAGE, Exit.FAILED, Exit.DENIED)
    assert "ygg itself failed" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1.9, "now"),
        (40, "40 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_durations_have_one_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_outside_text_is_bounded() -> None:
    assert safe("x" * 500, 10) == "xxxxxxxxx…"


def test_bridge_is_reissued_for_advertised_name(tmp_path: Path, capsys: Captured) -> None:
    out = str(tmp_path / "mesh")
    run(["pki", "bootstrap", out])
    capsys.readouterr()
    run(["pki", "bootstrap", out, "--host", "mesh.lan", "--json"])
    assert json_of(capsys)["issued"] == ["ygg://main/service/jotunheim_bridge"]
    run(["pki", "bootstrap", out, "--json"])
    assert json_of(capsys)["issued"] == []


@pytest.mark.parametrize(
    ("words", "file"),
    [(["hello.lua"], "hello.lua"), (["hello.scm"], "hello.scm"), (["hello", "--lang", "scheme"], "hello.scm")],
)
def test_script_new_takes_a_name_or_a_file(tmp_path: Path, words: list[str], file: str) -> None:
    assert run(["script", "new", *words]) == Exit.OK
    assert (tmp_path / file).is_file()


def test_script_new_refuses_a_file_of_another_language(tmp_path: Path) -> None:
    assert run(["script", "new", "hello.lua", "--lang", "scheme"]) == Exit.USAGE
    assert not list(tmp_path.glob("hello*"))


def test_hints_of_another_mesh_do_not_make_one_here(
    home: Home, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YGG_CA_PASSPHRASE", "correct horse battery")
    away = Context(identity=str(home.path / "nobody"), registry="127.0.0.1:1")
    Contexts(home).put("away", away)
    for command in (["device", "ls"], ["grpcurl"], ["pki", "issue", "user", "anna"], ["pki", "show"]):
        assert run(["--context", "away", *command]) != Exit.OK
        said = capsys.readouterr().err
        assert "away" in said
        assert "ygg up" not in said
        assert "pki init" not in said
    run(["pki", "init", "--dir", str(home.pki)])
    run(["pki", "issue", "user", "anna"])
    Contexts(home).put("away", replace(away, identity=str(home.identity("user", "anna"))))
    capsys.readouterr()
    assert run(["--context", "away", "device", "ls"]) == Exit.UNREACHABLE
    assert "ygg up" not in capsys.readouterr().err
