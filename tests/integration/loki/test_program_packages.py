"""Packages linked into programs, on the real service: exports, version selection and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from services.chassis import status
from tests.fixtures.mesh import client
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess
from tests.integration.loki.programs import LUA, RUNNING, SCHEME, Programs
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import script_pb2, script_pb2_grpc

BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
INVALID, FAILED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
TAG = {LUA: "lua", SCHEME: "scm"}
UNITS = {
    LUA: "ran = (ran or 0) + 1\nlocal count = 0\n"
    "return {f = function(c) return c * 9 / 5 + 32 end, count = function() count = count + 1 return count end,\n"
    " boom = function() error('too hot') end, asks = function() return device:read('temp0.celsius') end}",
    SCHEME: "(define (f c) (+ 32 (* c 9/5)))\n(define total 0)\n(define (count) (set! total (+ total 1)) total)\n"
    '(define (boom)\n (error "too hot") 1)\n(define-record-type point (make-point x) point? (x point-x))\n'
    '(define (asks) (list (property-read "temp0.celsius")))',
}


def pick(language: Any, lua: str, scheme: str) -> str:
    return lua if language == LUA else scheme


def depends(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"dependencies": [pb.ProgramDependency(id=name, minimum_version=least) for name, least in pairs]}


@pytest_asyncio.fixture
async def programs(programs: Programs) -> AsyncIterator[Programs]:
    """Also removes the packages: another test loads different ones under the same names."""
    yield programs
    await programs.unload_all()
    for program in (await programs.stub.ListPrograms(pb.ListProgramsRequest())).programs:
        await programs.stub.UnloadProgram(pb.UnloadProgramRequest(program_id=program.id))


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    return caught.value.code(), info.reason if info else "", caught.value.details() or ""


async def linked(programs: Programs, name: str) -> dict[str, str]:
    answer = await programs.stub.GetProgram(pb.GetProgramRequest(id=name))
    return {one.id: one.version for one in answer.program.deployments[0].packages}


@BOTH
async def test_package_exports_its_result_and_runs_once(programs: Programs, language: Any) -> None:
    await programs.load("units", UNITS[language], language)
    source = pick(
        language,
        "local units = require('units') hot = units.f(100) a, b = units.count(), require('units').count()",
        "(import (package units)) (define hot (f 100)) (define a (count)) (define b (count))"
        " (define x (point-x (make-point 7)))",
    )
    await programs.load("app", source, language, **depends(("units", "1.0.0")))
    await programs.deploy("app")
    await programs.state("app", RUNNING)
    assert await programs.eval("app", pick(language, "{hot, a, b}", "(list hot a b)")) == [212, 1, 2]
    assert await programs.eval("app", pick(language, "require('units').count()", "(count)")) == 3
    if language == SCHEME:
        assert await programs.eval("app", "(list x (point? 1))") == [7, False]
    assert await linked(programs, "app") == {"units": "1.0.0"}


@BOTH
async def test_linter_compiles_with_declared_packages(
    programs: Programs, loki_process: ServiceProcess, pki: Pki, language: Any
) -> None:
    head = pick(language, "-- @depends units 1.0.0\n", ";; @depends units 1.0.0\n")
    good = head + pick(language, "return require('units').f(1)", "(import (only (package units) f)) (f 1)")
    wrong = head + pick(language, "return require('units').f(1", "(import (only (package units) kelvin)) (kelvin 1)")
    async with client(loki_process.listen, pki) as channel:
        scripts: Any = script_pb2_grpc.ScriptServiceStub(channel)

        async def found(source: str) -> list[tuple[str, int]]:
            request = script_pb2.CheckScriptRequest(language=language, source=source)
            return [(one.rule, one.line) for one in (await scripts.CheckScript(request, timeout=20)).findings]

        assert await found(good) == [("NOT_LOADED", 1)]
        await programs.load("units", UNITS[language], language)
        assert await found(good) == []
        assert await found(wrong) == [("SYNTAX", 2)]
        assert await found(good.replace("@depends units", "@depends base")) == [("NOT_LOADED", 1)]


@BOTH
async def test_each_instance_has_its_own_packages_and_globals(programs: Programs, language: Any) -> None:
    await programs.load("units", UNITS[language], language)
    source = pick(
        language,
        "f, ran = 'mine', 5 units = require('units')",
        "(import (prefix (package units) u:)) (define f 'mine) (define total 5)",
    )
    await programs.load("app", source, language, **depends(("units", "")))
    for name in ("one", "two"):
        await programs.deploy("app", deployment_id=name)
        await programs.state(name, RUNNING)
    count = pick(language, "units.count()", "(u:count)")
    assert [await programs.eval("one", count) for _ in range(3)] == [1, 2, 3]
    assert await programs.eval("two", count) == 1
    assert await programs.eval("one", pick(language, "{f, ran}", '(list "mine" total)')) == ["mine", 5]
    assert await programs.eval("one", pick(language, "units.f(0)", "(u:f 0)")) == 32


async def test_scheme_imports_some_names_or_others_instead(programs: Programs) -> None:
    await programs.load("units", UNITS[SCHEME] + " (export f count)", SCHEME)
    source = (
        "(import (only (package units) f)) (import (rename (except (package units) f) (count tally)))"
        " (define hot (f 100)) (define one (tally))"
    )
    await programs.load("app", source, SCHEME, **depends(("units", "1.0.0")))
    await programs.deploy("app")
    await programs.state("app", RUNNING)
    assert await programs.eval("app", "(list hot one)") == [212, 1]
    for wrong, message in (
        ("(import (package units)) (boom)", "boom"),  # not exported
        ("(import (only (package units) kelvin))", "exports no kelvin"),
        ("(import (package units)) (set! f 1)", "not a variable of this script"),
        ("(import (rename (package units) f))", "THEIRS OURS"),
    ):
        if "boom" in wrong:
            await programs.load("bad", wrong, SCHEME, **depends(("units", "1.0.0")))  # a free name is no syntax error
            continue
        code, reason, text = await refused(programs.load("bad2", wrong, SCHEME, **depends(("units", "1.0.0"))))
        assert (code, reason) == (INVALID, "SYNTAX")
        assert message in text
    code, reason, text = await refused(programs.load("units", "(define a 1) (export b)", SCHEME, "2.0.0"))
    assert (code, reason) == (INVALID, "SYNTAX")
    assert "export: b is not defined here" in text


@BOTH
async def test_undeclared_package_cannot_be_named(programs: Programs, language: Any) -> None:
    await programs.load("units", UNITS[language], language)
    source = pick(language, "units = require('units')", "(import (package units))")
    if language == SCHEME:
        code, reason, text = await refused(programs.load("app", source, language))
        assert (code, reason) == (INVALID, "SYNTAX")
        assert "the package units is not declared" in text
        return
    await programs.load("app", source)
    await programs.deploy("app")
    found = await programs.state("app", pb.INSTANCE_STATE_SUSPENDED)
    assert "NOT_DECLARED: no package units is declared" in found[0].last_error


@BOTH
async def test_packages_name_only_their_own_dependencies(programs: Programs, language: Any) -> None:
    await programs.load("base", pick(language, "return {zero = 32}", "(define zero 32)"), language)
    middle = pick(
        language,
        "local base = require('base') return {f = function(c) return c * 9 / 5 + base.zero end}",
        "(import (package base)) (define (f c) (+ zero (* c 9/5)))",
    )
    await programs.load("units", middle, language, **depends(("base", "1.0.0")))
    source = pick(
        language,
        "hot = require('units').f(100) ok, why = pcall(require, 'base')",
        "(import (package units)) (define hot (f 100))",
    )
    await programs.load("app", source, language, **depends(("units", "1.0.0")))
    await programs.deploy("app")
    await programs.state("app", RUNNING)
    assert await programs.eval("app", "hot") == 212
    assert await linked(programs, "app") == {"base": "1.0.0", "units": "1.0.0"}
    if language == LUA:
        assert await programs.eval("app", "ok") is False


@BOTH
async def test_an_error_in_a_package_names_its_file_and_line(programs: Programs, language: Any) -> None:
    await programs.load("units", UNITS[language], language)
    source = pick(
        language,
        "\nlocal u = require('units')\nafter('x', 0.05, function()\n u.boom() end)",
        "\n(import (package units))\n(after 'x 0.05 (lambda (_)\n (boom) 1))",
    )
    await programs.load("app", source, language, **depends(("units", "")))
    await programs.deploy("app")
    await programs.state("app", RUNNING)
    await programs.until_error("app", f"app.{TAG[language]}:4: SCRIPT_ERROR: units.{TAG[language]}:")
    error = (await programs.instances("app"))[0].last_error
    assert f"units.{TAG[language]}:{4 if language == LUA else 5}: too hot" in error
    asks = pick(language, "u = require('units') u.asks()", "(import (package units)) (asks)")
    code, reason, text = await refused(programs.eval("app", asks))
    assert (code, reason) == (FAILED, "NO_DEVICE")
    assert f"units.{TAG[language]}:" in text


@BOTH
async def test_newest_major_version_is_pinned_until_redeployed(programs: Programs, language: Any) -> None:
    for version in ("1.0.0", "1.2.0", "1.3.0-rc.1", "2.0.0"):
        number = version.split(".")[1]
        await programs.load(
            "units", pick(language, f"return {number}", f"(define v {number})"), language, version=version
        )
    source = pick(language, "v = require('units')", "(import (rename (package units) (v w))) (define v w)")
    await programs.load("app", source, language, **depends(("units", "1.0.0")))
    await programs.deploy("app")
    await programs.until("app", "v", 2)
    await programs.load("units", pick(language, "return 9", "(define v 9)"), language, version="1.9.0")
    await programs.stub.RestartProgram(pb.RestartProgramRequest(deployment_id="app"))
    await programs.epoch("app", 2)
    assert await programs.eval("app", "v") == 2
    assert await linked(programs, "app") == {"units": "1.2.0"}
    await programs.deploy("app")
    await programs.epoch("app", 3)
    assert await programs.eval("app", "v") == 9
    assert await linked(programs, "app") == {"units": "1.9.0"}
    pinned = pb.UnloadProgramRequest(program_id="units", version="1.9.0", end_deployments=True)
    code, reason, text = await refused(programs.stub.UnloadProgram(pinned))
    assert (code, reason) == (FAILED, "PROGRAM_DEPLOYED")
    assert "app" in text
    await programs.stub.UnloadProgram(pb.UnloadProgramRequest(program_id="units", version="1.2.0"))


async def test_cyclic_or_too_many_packages_are_refused_at_load(programs: Programs) -> None:
    await programs.load("units", "return 1")
    await programs.load("base", "return 1", **depends(("units", "")))
    code, reason, text = await refused(programs.load("units", "return 2", version="1.1.0", **depends(("base", ""))))
    assert (code, reason) == (INVALID, "INVALID_PACKAGE")
    assert "units -> base -> units" in text
    await programs.load("units_scm", "(define x 1)", SCHEME)
    code, reason, text = await refused(programs.load("app", "x = 1", **depends(("units_scm", ""))))
    assert (code, reason) == (INVALID, "INVALID_PACKAGE")
    assert "units_scm 1.0.0 is written in scheme, app in lua" in text
    for n in range(16):
        await programs.load(f"p{n}", "return 1", **(depends((f"p{n - 1}", "")) if n else {}))
    await programs.load("sixteen", "x = require('p15')", **depends(("p15", "")))
    code, reason, text = await refused(programs.load("more", "x = 1", **depends(("sixteen", ""))))
    assert (code, reason) == (INVALID, "INVALID_PACKAGE")
    assert "17 packages, at most 16" in text
    code, reason, text = await refused(programs.load("app", "x = 1", **depends(("units", "1.5.0"))))
    assert "units 1.5.0 or a later 1.x" in text
    assert "loaded: 1.0.0" in text
    code, reason, text = await refused(programs.load("app", "x = 1", **depends(("units", "0.9.0"))))
    assert "units 0.9.0 or a later 0.x" in text


@BOTH
async def test_package_without_used_name_is_refused_at_deployment(programs: Programs, language: Any) -> None:
    await programs.load("units", UNITS[language], language)
    source = pick(language, "x = require('units').f", "(import (only (package units) f))")
    await programs.load("app", source, language, **depends(("units", "1.0.0")))
    await programs.load("units", pick(language, "error('no')", "(define g 1)"), language, version="1.1.0")
    if language == SCHEME:
        code, reason, text = await refused(programs.deploy("app"))
        assert (code, reason) == (INVALID, "SYNTAX")
        assert "exports no f" in text
        return
    await programs.deploy("app")
    found = await programs.state("app", pb.INSTANCE_STATE_SUSPENDED)
    assert "units.lua:1: no" in found[0].last_error


@BOTH
async def test_package_over_limits_is_charged_to_its_program(programs: Programs, language: Any) -> None:
    await programs.run("beside", pick(language, "x = 1", "(define x 1)"), language)
    loop = pick(language, "while true do end", "(let loop () (loop))")
    await programs.load("units", loop, language)
    source = pick(language, "x = require('units')", "(import (package units))")
    await programs.load("app", source, language, **depends(("units", "")), limits={"run_timeout_s": 2.0})
    await programs.deploy("app")
    await programs.until_error("app", "TIMEOUT")
    assert await programs.eval("beside", "x") == 1
