"""Memory filled with strings of many sizes, in runs and in programs: it ends in MEMORY, and the worker goes on.

The remaining memory at the limit depends on the size of the last allocation, so one size proves little. Quick by
default; YGG_LONG_TESTS=1 tries all sizes at all caps.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.domain.errors import Code
from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import ScriptError
from services.loki.model import MIB, Language, Limits
from services.loki.programs.null_host import NullHost
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
LONG = os.environ.get("YGG_LONG_TESTS") == "1"
SIZES = [int(100 * 1.17**step) for step in range(64)]  # 100 bytes to 2 MB
CAPS = [MIB, 4 * MIB, 16 * MIB]
FILL = {
    LUA: 'local t = {{}} for i = 1, 1e9 do t[i] = string.rep("x", {}) end',
    SCHEME: r"(define t (make-hash-table)) (let fill ((i 0)) (hash-set! t i (make-string {} #\x)) (fill (+ i 1)))",
}
FILLS = [
    pytest.param(language, cap, SIZES if LONG else SIZES[cap_index::6], id=f"{language.value}-{cap // MIB}-MiB")
    for language in Language
    for cap_index, cap in enumerate(CAPS)
]


@pytest.mark.parametrize(("language", "cap", "sizes"), FILLS)
async def test_strings_of_any_size_end_in_memory_error(
    lab: Lab, language: Language, cap: int, sizes: list[int]
) -> None:
    await lab.all_up(language)
    before = lab.pids(language)
    for size in sizes:
        error = await lab.failure(language, FILL[language].format(size), limits=Limits(60.0, cap))
        assert (error.reason, error.code) == ("MEMORY", Code.RESOURCE_EXHAUSTED), (size, error)
        if language is LUA:
            assert error.line == 1, (size, error)
    if language is LUA:  # a Scheme worker may ask to be replaced once its heap has grown
        assert lab.pids(language) == before


@pytest_asyncio.fixture(loop_scope="module", params=list(Language), ids=lambda language: language.value)
async def worker(request: Any, lab: Lab) -> AsyncIterator[tuple[Language, LiveWorker]]:
    """A worker of programs."""
    started = await LiveWorker.start(await lab.commands[request.param]())
    yield request.param, started
    await started.close()


def start(source: str, cap: int = 4 * MIB) -> dict[str, Any]:
    """A first turn."""
    return {"do": "start", "name": "x", "source": source, "device": "", "args": '{"m":{}}', "memory_bytes": cap}


async def test_program_out_of_memory_keeps_globals_of_neighbours(
    worker: tuple[Language, LiveWorker],
) -> None:
    language, process = worker
    neighbour = "mark = 7" if language is LUA else "(define mark 7)"
    await process.turn(1, start(neighbour), NullHost())[1]
    for number, size in enumerate(SIZES if LONG else SIZES[::4], start=2):
        _, filling = process.turn(number, start(FILL[language].format(size)), NullHost())
        await asyncio.gather(filling, return_exceptions=True)
        error = filling.exception()
        assert isinstance(error, ScriptError), (size, error)
        assert error.reason == "MEMORY", (size, error)
        process.drop(number)
    found = await process.turn(1, {"do": "eval", "key": "mark", "value": ""}, NullHost())[1]
    assert found.value == 7
    assert not process.lost.is_set()


@pytest.mark.parametrize(
    "source",
    [
        'local t = {} while true do t[#t + 1] = ("x"):rep(5000) .. #t end',
        'local ok, e = pcall(function() local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(5000) end end) error(e, 0)',
        'local t = {} pcall(function() for i = 1, 1e9 do t[i] = ("x"):rep(50) end end) device:read("temp0.celsius")',
        'local t = {} pcall(function() for i = 1, 1e9 do t[i] = ("x"):rep(50) end end) return t',
        'keep = {} pcall(function() for i = 1, 1e9 do keep[i] = {} end end) error({message = ("x"):rep(1e5)})',
        'keep = {} pcall(function() for i = 1, 1e9 do keep[i] = i .. "" end end) json.decode("[")',
        'keep = {} pcall(function() for i = 1, 1e9 do keep[i] = i .. "" end end) coroutine.wrap(error)("x")',
        'local s = ("x"):rep(1000) while true do s = s .. s end',
    ],
)
async def test_lua_script_out_of_memory_keeps_its_worker(lab: Lab, source: str) -> None:
    await lab.all_up(LUA)
    before = lab.pids(LUA)
    for cap in (MIB, 2 * MIB + 12345, 4 * MIB):
        error = await lab.failure(LUA, source, limits=Limits(60.0, cap))
        assert error.reason in ("MEMORY", "SCRIPT_ERROR"), error
    assert lab.pids(LUA) == before


async def test_programs_filling_a_worker_keep_globals_of_neighbour(lab: Lab) -> None:
    process = await LiveWorker.start(await lab.commands[LUA]())
    fill = "keep = {} for i = 1, 1e9 do keep[i] = string.rep('x', 100000) .. i end"
    try:
        await process.turn(1, start("mark = 7"), NullHost())[1]
        for number in range(2, 14):  # none is dropped; their caps are twice the worker's addresses
            filling = process.turn(number, start(fill, 128 * MIB), NullHost())[1]
            await asyncio.gather(filling, return_exceptions=True)
            error = filling.exception()
            assert isinstance(error, ScriptError), (number, error)
            assert error.reason == "MEMORY"
        found = await process.turn(1, {"do": "eval", "key": "mark", "value": ""}, NullHost())[1]
        assert found.value == 7
    finally:
        await process.close()
