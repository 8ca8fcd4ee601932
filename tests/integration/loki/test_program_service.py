"""The ProgramService: loki's process with the real registry, bridge, NATS and devices."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import codec, status
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import LUA, RUNNING, SCHEME, Programs
from yggdrasil.common.v1 import requirement_pb2, value_pb2
from yggdrasil.loki.v1 import program_pb2 as pb

BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
TAG = {LUA: "lua", SCHEME: "scm"}


def pick(language: Any, lua: str, scheme: str) -> str:
    return lua if language == LUA else scheme


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    return caught.value.code(), info.reason if info else "", caught.value.details() or ""


@BOTH
async def test_a_program_lives_with_its_globals_and_timers(programs: Programs, language: Any) -> None:
    source = pick(
        language,
        "count = 0 every('tick', 0.1, function() count = count + 1 end) log('up')",
        '(define count 0) (every \'tick 0.1 (lambda (_) (set! count (+ count 1)))) (log "up")',
    )
    name = f"ticker_{TAG[language]}"
    await programs.run(name, source, language)
    await programs.value_when(name, "count", lambda count: count >= 3)
    assert "up" in await programs.lines(name)
    seen = await programs.statistics(name)
    assert (seen.errors, seen.timers) == (0, 1)
    assert seen.turns >= 4
    assert any(call.cause == "timer tick" and not call.reason for call in await programs.history(name))


@BOTH
async def test_globals_are_read_and_set_and_only_the_programs_own(programs: Programs, language: Any) -> None:
    name = f"globals_{TAG[language]}"
    await programs.run(
        name, pick(language, "limit = 20 function f() end", "(define limit 20) (define (f) 1)"), language
    )
    ref = pb.InstanceRef(deployment_id=name)
    found = (await programs.stub.GetGlobals(pb.GetGlobalsRequest(instance=ref))).globals
    assert {each.name: codec.value_from_proto(each.value) if each.HasField("value") else None for each in found} == {
        "limit": 20,
        "f": None,
    }
    await programs.stub.SetGlobal(pb.SetGlobalRequest(instance=ref, name="limit", value=value_pb2.Value(int=25)))
    assert await programs.eval(name, "limit") == 25
    for theirs in ("log", "nothing"):
        unset = programs.stub.SetGlobal(pb.SetGlobalRequest(instance=ref, name=theirs, value=value_pb2.Value(int=1)))
        assert (await refused(unset))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_GLOBAL")


@BOTH
async def test_failed_eval_is_reported_but_not_counted(programs: Programs, language: Any) -> None:
    name = f"evals_{TAG[language]}"
    await programs.run(name, pick(language, "x = 1", "(define x 1)"), language)
    for _ in range(5):
        code, reason, _ = await refused(programs.eval(name, pick(language, "error('boom')", '(error "boom")')))
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCRIPT_ERROR")
    assert (await refused(programs.eval(name, "((("))).__getitem__(1) == "SYNTAX"
    assert await programs.eval(name, "x") == 1


async def test_failed_first_turn_is_reported_before_suspension(programs: Programs) -> None:
    await programs.load("fails", "error('boom')")
    await programs.deploy("fails")
    await programs.until_error("fails", "boom")
    assert (await programs.instances("fails"))[0].state == pb.INSTANCE_STATE_STARTING
    await programs.state("fails", pb.INSTANCE_STATE_SUSPENDED)


@BOTH
async def test_store_survives_a_restart_but_globals_do_not(programs: Programs, language: Any) -> None:
    name = f"keeper_{TAG[language]}"
    source = pick(
        language,
        "n = store.load('n', 0) + 1 store('n', n) extra = 1",
        "(define n (+ 1 (load 'n 0))) (store 'n n) (define extra 1)",
    )
    await programs.run(name, source, language)
    await programs.until(name, "n", 1)
    await programs.stub.RestartProgram(pb.RestartProgramRequest(deployment_id=name))
    await programs.epoch(name, 2)
    await programs.until(name, "n", 2)
    assert await programs.eval(name, pick(language, "store.keys()", "(store-keys)")) == ["n"]
    assert await programs.eval(name, pick(language, "store.delete('n')", "(store-delete 'n)")) is True
    assert await programs.eval(name, pick(language, "store.load('n', 'none')", '(load \'n "none")')) == "none"
    assert (await programs.statistics(name)).store_bytes == 2 or (await programs.statistics(name)).store_bytes == 0


@BOTH
async def test_messages_and_own_events_reach_their_handlers(programs: Programs, language: Any) -> None:
    hears, says = f"hears_{TAG[language]}", f"says_{TAG[language]}"
    await programs.run(
        hears,
        pick(
            language,
            "subscribe('alarm.fire', function(m) emit('heard', m) end)"
            " on('heard', function(m) last = m.from .. ' ' .. m.topic .. ' ' .. m.value.level end)",
            '(define last #f) (subscribe "alarm.fire" (lambda (m) (emit \'heard m)))'
            ' (on \'heard (lambda (m) (set! last (string-append (assq-ref m \'from) " " (assq-ref m \'topic) " "'
            " (number->string (assq-ref (assq-ref m 'value) 'level))))))",
        ),
        language,
    )
    says_it = pick(language, "publish('alarm.fire', {level = 3})", '(publish "alarm.fire" \'((level . 3)))')
    await programs.run(says, says_it, language)
    await programs.until(hears, "last", f"{says} alarm.fire 3")


async def test_a_turn_that_waits_does_not_keep_the_program_from_others(programs: Programs) -> None:
    await programs.run("waits", "n = 0 while true do n = n + 1 sleep(30) end")
    assert await programs.eval("waits", "n") == 1
    await programs.run("waits_scm", "(define n 0) (let loop () (set! n (+ n 1)) (sleep 30) (loop))", SCHEME)
    assert await programs.eval("waits_scm", "n") == 1


@BOTH
async def test_timer_is_rearmed_by_name_and_gone_when_cancelled(programs: Programs, language: Any) -> None:
    name = f"timers_{TAG[language]}"
    await programs.run(
        name,
        pick(
            language,
            "a, b, c = 0, 0, 0 every('one', 60, function() a = a + 1 end) every('one', 0.05, function() b = b + 1 end)"
            " after('two', 0.3, function() c = c + 1 end) gone = cancel('two') none = cancel('three')"
            " late = 0 after('late', 0.4, function() late = 1 end)",
            "(define a 0) (define b 0) (define c 0) (every 'one 60 (lambda (_) (set! a 1)))"
            " (every 'one 0.05 (lambda (_) (set! b (+ b 1)))) (after 'two 0.3 (lambda (_) (set! c 1)))"
            " (define gone (cancel 'two)) (define none (cancel 'three))"
            " (define late 0) (after 'late 0.4 (lambda (_) (set! late 1)))",
        ),
        language,
    )
    # `late` was armed after `two` and fires later: once it has fired, `two` would have fired.
    await programs.until(name, "late", 1)
    assert await programs.eval(name, pick(language, "{a, c, gone, none}", "(list a c gone none)")) == [
        0,
        0,
        True,
        False,
    ]
    assert await programs.eval(name, "b") > 2  # type: ignore[operator]
    wrong = pick(language, "cron('x', '61 * * * *', print)", '(cron \'x "61 * * * *" display)')
    assert "minute" in (await refused(programs.eval(name, wrong)))[2]


async def test_a_package_is_checked_before_anything_runs(programs: Programs) -> None:
    for language, broken in ((LUA, "x = = 1"), (SCHEME, "(define x")):
        code, reason, text = await refused(programs.load("broken", broken, language))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
        assert "broken" in text
    code, reason, _ = await refused(programs.load("broken", "x = 1", checksum=hashlib.sha256(b"y").hexdigest()))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PACKAGE")
    forever = await programs.load("forever", "while true do end")  # compiles; nothing is executed
    assert forever.created
    again = await programs.load("forever", "while true do end")
    assert not again.created
    code, reason, _ = await refused(programs.load("forever", "x = 1"))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "VERSION_TAKEN")


async def test_device_with_unmet_requirement_is_refused_with_clause(programs: Programs, mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    await programs.load("picky", "x = 1", requires=["actuator.led@1+", "sensor.radar@1+"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await programs.deploy("picky", device_id=mesh.one)
    clause = requirement_pb2.FailedClause()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert status.unpack_detail(caught.value, clause)
    assert clause.kind == requirement_pb2.CLAUSE_KIND_TYPE
    assert clause.requirement == 1
    assert "sensor.radar" in clause.message


async def test_device_program_is_limited_to_its_contract(programs: Programs, mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    await programs.load("dev", "id = device.id", requires=["actuator.led@1+"])
    await programs.deploy("dev", device_id=mesh.one)
    await programs.state("dev", RUNNING)
    assert await programs.eval("dev", "id") == mesh.one
    assert (await refused(programs.eval("dev", "device:read('led0.nothing')")))[
        0
    ] is grpc.StatusCode.FAILED_PRECONDITION


async def test_selector_runs_one_instance_per_matching_device(programs: Programs, mesh: Mesh) -> None:
    from yggdrasil.registry.v1 import registry_pb2 as rp

    zone = f"z{mesh.one[-8:]}"
    for name in (mesh.one, mesh.two):
        await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=name, labels={"zone": zone}))
    first = await mesh.device(mesh.one)
    await first.negotiate()
    await programs.load("many", "id = device.id", requires=["actuator.led@1+"])
    answer = await programs.deploy("many", selector=f"zone={zone}")
    assert list(answer.device_ids) == [mesh.one]
    assert [skipped.device_id for skipped in answer.skipped] == [mesh.two]
    states = {mesh.one: RUNNING, mesh.two: pb.INSTANCE_STATE_REFUSED}
    await programs.instances_when("many", lambda found: {each.device_id: each.state for each in found} == states)
    second = await mesh.device(mesh.two)  # it connects, meets the requirements, and gets its instance
    await second.negotiate()
    await programs.state("many", RUNNING, count=2)
    assert await programs.eval("many", "id", mesh.two) == mesh.two


async def test_logs_are_followed_as_they_come(programs: Programs) -> None:
    await programs.run("talks", "log('first')")
    call = programs.stub.WatchLogs(pb.WatchLogsRequest(deployment_id="talks", tail=10, follow=True), timeout=20)
    assert (await call.read()).entry.message == "first"
    await programs.eval("talks", "log.warn('second')")
    line = await call.read()
    assert (line.entry.message, line.deployment_id) == ("second", "talks")
    call.cancel()


async def test_stop_and_start_and_requests_to_a_stopped_program(programs: Programs) -> None:
    await programs.run("halts", "x = 1")
    await programs.stub.StopProgram(pb.StopProgramRequest(deployment_id="halts"))
    await programs.state("halts", pb.INSTANCE_STATE_STOPPED)
    code, reason, _ = await refused(programs.eval("halts", "x"))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROGRAM_NOT_RUNNING")
    await programs.stub.StartProgram(pb.StartProgramRequest(deployment_id="halts"))
    await programs.state("halts", RUNNING)
    assert (await refused(programs.eval("missing", "x")))[0] is grpc.StatusCode.NOT_FOUND


async def test_rollout_reverts_past_threshold_or_is_promoted(programs: Programs) -> None:
    await programs.run("rolled", "v = 1")
    await programs.load("rolled", "v = 2 every('bad', 0.05, function() error('worse') end)", version="1.1.0")
    await programs.stub.StartRollout(
        pb.StartRolloutRequest(deployment_id="rolled", version="1.1.0", share_percent=100, error_threshold=2)
    )

    async def note() -> str:
        answer = await programs.stub.GetProgram(pb.GetProgramRequest(id="rolled"))
        return str(answer.program.deployments[0].rollout_note)

    assert "1.1.0 was given up after 2 errors" in await eventually(note, 20)
    await programs.state("rolled", RUNNING)
    await programs.until("rolled", "v", 1)
    await programs.load("rolled", "v = 3", version="1.2.0")
    await programs.stub.StartRollout(pb.StartRolloutRequest(deployment_id="rolled", version="1.2.0", share_percent=100))
    await programs.instances_when("rolled", lambda found: (found[0].version, found[0].state) == ("1.2.0", RUNNING))
    await programs.stub.FinishRollout(pb.FinishRolloutRequest(deployment_id="rolled", promote=True))
    await programs.until("rolled", "v", 3)


async def test_development_version_is_replaced_and_keeps_its_store(programs: Programs) -> None:
    async def load(source: str, version: str, *, replace: bool = True) -> pb.LoadProgramResponse:
        manifest = pb.ProgramManifest(id="bench_dev", version=version, language=LUA)
        package = pb.ProgramPackage(manifest=manifest, source=source)
        answer: pb.LoadProgramResponse = await programs.stub.LoadProgram(
            pb.LoadProgramRequest(package=package, replace=replace), timeout=30
        )
        return answer

    assert (await load("store('n', 1) what = 'first'", "0.0.0-dev")).created
    await programs.deploy("bench_dev", version="0.0.0-dev")
    await programs.until("bench_dev", "store.load('n')", 1)
    assert not (await load("what = 'second'", "0.0.0-dev")).created
    await programs.until("bench_dev", "what", "second")
    assert await programs.eval("bench_dev", "store.load('n')") == 1
    code, reason, _ = await refused(load("what = (", "0.0.0-dev"))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
    assert await programs.eval("bench_dev", "what") == "second"
    code, reason, text = await refused(load("x = 1", "1.0.0"))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PACKAGE")
    assert "never changes" in text
    code, reason, _ = await refused(load("what = 'third'", "0.0.0-dev", replace=False))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "VERSION_TAKEN")


async def test_store_is_read_and_written_from_outside(programs: Programs) -> None:
    await programs.run("keeper", "store('a', 1)", limits={"store_bytes": 200})
    ref = pb.InstanceRef(deployment_id="keeper")

    async def entries() -> dict[str, Any]:
        answer = await programs.stub.GetStore(pb.GetStoreRequest(instance=ref), timeout=10)
        assert (answer.limit_bytes, answer.size_bytes > 0) == (200, True)
        return {key: codec.value_from_proto(value) for key, value in answer.entries.items()}

    async def put(key: str, value: Any) -> bool:
        given = None if value is None else codec.value_to_proto(value)
        answer = await programs.stub.SetStore(pb.SetStoreRequest(instance=ref, key=key, value=given), timeout=10)
        return bool(answer.existed)

    await programs.until("keeper", "store.load('a')", 1)
    assert await entries() == {"a": 1}
    assert not await put("b", [1, "x"])
    assert await put("a", 2)
    assert await entries() == {"a": 2, "b": [1, "x"]}
    assert await programs.eval("keeper", "store.load('b')") == [1, "x"]
    assert await put("b", None)
    assert not await put("b", None)
    assert await entries() == {"a": 2}
    assert (await refused(put("big", "x" * 300)))[1] == "STORE_FULL"
    assert (await refused(put("", 1)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    await programs.stub.StopProgram(pb.StopProgramRequest(deployment_id="keeper"))
    await programs.state("keeper", pb.INSTANCE_STATE_STOPPED)
    assert (await refused(entries()))[0] is grpc.StatusCode.FAILED_PRECONDITION
