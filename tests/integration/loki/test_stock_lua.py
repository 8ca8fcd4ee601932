# ruff: noqa: E501 - a table, one a line
"""Lua in scripts behaves like stock Lua 5.4: each row runs in both, with equal results."""

from __future__ import annotations

from typing import Any

import pytest
from lupa import lua54

from services.domain.values import Value
from services.loki.model import MIB, Language, Limits
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA = Language.LUA
SAME = [
    # Coroutines.
    "local f = coroutine.wrap(function() error('x') end)\nlocal ok, e = pcall(function() f() end) return {ok, e}",
    "local f = coroutine.wrap(function() error('x', 0) end)\nlocal ok, e = pcall(function()\n local x = f() end) return {ok, e}",
    "local f = coroutine.wrap(function() error({code = 7}) end) local ok, e = pcall(f) return {ok, e.code}",
    "local f = coroutine.wrap(function() error() end) local ok, e = pcall(f) return {ok, e == nil}",
    "local f = coroutine.wrap(function() return 1 end) f() local ok, e = pcall(function() f() end) return {ok, e}",
    "local log = '' local f = coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function(_, e) log = log .. tostring(e) end}) error('x', 0) end) local ok, e = pcall(f) return {ok, e, log}",
    "local f = coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() error('later', 0) end}) error('x', 0) end) local ok, e = pcall(f) return {ok, e}",
    "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() error('x', 0) end}) coroutine.yield() end) coroutine.resume(co) return {coroutine.close(co)}",
    "local co = coroutine.create(print) return {coroutine.close(co), coroutine.status(co)}",
    "return {coroutine.isyieldable(), coroutine.wrap(function() return coroutine.isyieldable() end)()}",
    "local co = coroutine.create(function() coroutine.yield() end) return {coroutine.isyieldable(co)}",
    "local _, main = nil, coroutine.running() return coroutine.wrap(function() return coroutine.isyieldable(main) end)()",
    "return {pcall(coroutine.yield)}",
    "return {pcall(function() coroutine.isyieldable(1) end)}",
    "return {pcall(function() coroutine.create(1) end)}",
    "return {pcall(function() coroutine.wrap() end)}",
    "return {pcall(function() coroutine.resume(1) end)}",
    "return {pcall(function() coroutine.resume() end)}",
    "return {pcall(function() coroutine.status(1) end)}",
    "return {pcall(function() coroutine.close(1) end)}",
    "return {pcall(function() coroutine.close(coroutine.running()) end)}",
    "return {coroutine.resume(coroutine.running())}",
    "local ok, e = coroutine.resume(coroutine.create(function() local t = nil; t.x = 1 end)) return {ok, e}",
    # Names of builtins in errors.
    "return {pcall(function() setmetatable(1, {}) end)}",
    "return {pcall(function() setmetatable({}, 1) end)}",
    "return {pcall(function() setmetatable({}) end)}",
    "return {pcall(function() setmetatable(setmetatable({}, {__metatable = 1}), {}) end)}",
    "return {pcall(function() load({}) end)}",
    "return {pcall(function() load(function() return {} end) end)}",
    "return {load('return 1 +', '=chunk')}",
    "return {load('return 1 +')}",
    "local n = 0 return {load(function() n = n + 1 return ({'return ', '1 +'})[n] end)}",
    "return {pcall(function() string.gsub(nil, 'x', 'y') end)}",
    "return {pcall(function() string.gsub('x', nil, 'y') end)}",
    "return {pcall(function() string.gsub('x', 'x', true) end)}",
    "return {pcall(function() string.gsub('x', 'x', print, {}) end)}",
    "return {pcall(function() string.gsub('x', '%', print) end)}",
    "return {pcall(function() string.gsub('x', '(x', print) end)}",
    "return {pcall(function() string.gsub('x', 'x', function() return {} end) end)}",
    "return {pcall(function() string.gsub('x', 'x', '%2') end)}",
    "return {pcall(function() table.sort(1) end)}",
    "return {pcall(function() table.sort({2, 1}, 1) end)}",
    "return {pcall(function() table.sort({2, 1}, function() error('x', 0) end) end)}",
    "return {pcall(function() xpcall(print, 1) end)}",
    "return {pcall(function() select(0) end)}",
    "return {pcall(function() ('x'):rep({}) end)}",
    "return {pcall(function() format('%d', 'x') end)}",
    # Implemented here.
    "return {('hello'):gsub('l', function(c) return c:upper() end)}",
    "return {('hello'):gsub('', function() return '-' end)}",
    "return {('hello world'):gsub('%w+', function() end)}",
    "return {('abc'):gsub('%w', function(c) return c == 'b' and false or 7 end)}",
    "return {('aXbX'):gsub('(%l)(%u)', function(a, b) return b .. a end, 1)}",
    "return {('abc'):gsub('^%w', function() return 'x' end)}",
    "return {('abc abc'):gsub('%f[%w]%w', function(c) return c:upper() end)}",
    "return {('abc'):gsub('b*', function(s) return '[' .. s .. ']' end)}",
    "return {('abc'):gsub('$', function() return '!' end)}",
    "return {('12321'):gsub('2', function(c) return c + 1 end)}",
    "return {('x'):rep(3):gsub('x', function() return 'y' end, 0)}",
    "return {('x'):rep(3):gsub('x', function() return 'y' end, 2.0)}",
    "return {string.gsub(121, 1, function() return 0 end)}",
    "return {('a.b'):gsub('.', {a = 1, b = true and 'x'})}",
    "local t = {5, 3, 9, 1} table.sort(t, function(a, b) return a > b end) return t",
    "local t = {'b', 'a'} table.sort(t) return t",
    "local t = {} table.sort(t, function() end) return #t",
    "return {xpcall(function(a) return a, 2 end, print, 1)}",
    "return {xpcall(error, function(e) return e .. '!', 1 end, 'x')}",
    "return {select('#', xpcall(error, function() end, 'x'))}",
    "return {pcall(xpcall, print)}",
]  # fmt: skip


def stock(source: str) -> Any:
    """Return the result of stock Lua."""
    runtime: Any = lua54.LuaRuntime(register_eval=False, register_builtins=False)
    result = runtime.execute("format = string.format return load(..., '@test.lua', 't')()", source)
    return list(result.values()) if lua54.lua_type(result) == "table" else result


def readable(value: Value) -> Value:
    """Remove nil from lists: a table that begins with nil is encoded as the list of its other values."""
    return [item for item in value if item is not None] if isinstance(value, list) else value


@pytest.mark.parametrize("source", SAME)
async def test_a_script_sees_stock_lua(lab: Lab, source: str) -> None:
    found = await lab.value(
        LUA,
        f"local function row() {source}\nend local r = row() if type(r) ~= 'table' then return r end "
        "local l = {} for _, v in pairs(r) do l[#l + 1] = v end return json.array(l)",
    )
    assert readable(found) == readable(stock(f"local function row() {source}\nend return row()"))


CLOSING = [
    ("error('x')", "SCRIPT_ERROR", ["b", "a"]),
    ("device.led0.blink{times = 99}", "ARGUMENT_NOT_IN_CONTRACT", ["b", "a"]),
    ("local function f() return 1 + f() end f()", "SCRIPT_ERROR", ["b", "a"]),
    ("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(10000) .. i end", "MEMORY", ["b", "a"]),
    ("coroutine.wrap(function() error('x') end)()", "SCRIPT_ERROR", ["b", "a"]),
    ("while true do end", "TIMEOUT", []),
]


@pytest.mark.parametrize(("end", "reason", "closed"), CLOSING)
async def test_variables_are_closed_on_an_uncaught_error(lab: Lab, end: str, reason: str, closed: list[str]) -> None:
    source = (
        "local function closes(name)\n"
        "  return setmetatable({}, {__close = function() device:write('led0.on', true) log(name) end})\n"
        "end\n"
        f"local a <close>, b = closes('a'), 1 local b <close> = closes('b')\n{end}"
    )  # fmt: skip
    error = await lab.failure(LUA, source, limits=Limits(timeout_s=2, memory_bytes=128 * MIB))
    assert error.reason == reason, error
    assert [entry.message for entry in lab.log] == closed
    if reason != "MEMORY":
        assert error.line == 5, error


async def test_loop_variables_are_closed_on_an_uncaught_error(lab: Lab) -> None:
    closing = "setmetatable({}, {__close = function() log('closed') end})"
    error = await lab.failure(LUA, f"for i in function() return 1 end, nil, nil, {closing} do\n  error('x')\nend")
    assert (error.reason, error.line, error.message) == ("SCRIPT_ERROR", 2, "x")
    assert [entry.message for entry in lab.log] == ["closed"]


async def test_a_loop_in_a_close_after_an_error_is_stopped(lab: Lab) -> None:
    await lab.all_up(LUA)
    before = lab.pids(LUA)
    source = "local x <close> = setmetatable({}, {__close = function() while true do end end}) error('x')"
    assert (await lab.failure(LUA, source, limits=Limits(timeout_s=0.3))).reason in ("TIMEOUT", "SCRIPT_ERROR")
    loop = source.replace("local x <close> =", "for i in error, 'x', nil,").replace(" error('x')", " do end")
    assert (await lab.failure(LUA, loop, limits=Limits(timeout_s=0.3))).reason in ("TIMEOUT", "SCRIPT_ERROR")
    assert lab.pids(LUA) == before


async def test_an_event_in_a_run_means_its_default_device(lab: Lab) -> None:
    outcome = await lab.outcome(LUA, "on('led0.failed', print) on('online', print)")
    assert sorted(outcome.dropped) == ["handler of led0.failed of porch-1", "handler of online of porch-1"]
    error = await lab.failure(LUA, "on('led0.failed', print)", device="")
    assert error.reason == "NO_DEVICE"
