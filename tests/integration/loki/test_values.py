# ruff: noqa: E501 - scripts in tables, one a line
"""Values into a script, out of it, and through JSON keep their type; unsupported values are reported."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.errors import Code
from services.domain.values import INT_MAX, INT_MIN, Value
from services.loki.model import Language
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
ECHO = {LUA: "return args.x", SCHEME: "(arg 'x)"}

SAME: list[Value] = [
    True, False, 0, 1, -1, INT_MIN, INT_MAX, 2**53 + 1, 0.0, -0.0, 1.5, 1e300, 5e-324, 1e16, 123456789.123, "", "a",
    'quo"te', "back\\slash", "new\nline\ttab\x01\x7f", "é 漢 😀", "a\u2028b", b"\xff\x00", b"\x80", [1, 2, 3], [[1], [2, [3]]],
    ["1", 1, 1.0, True], {"a": 1}, {"a": {"b": [1, {"c": "d"}]}}, {"with space": 1, "é": 2}, [None, 1],
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("value", SAME, ids=repr)
async def test_value_survives_a_round_trip(lab: Lab, language: Language, value: Value) -> None:
    got = await lab.value(language, ECHO[language], arguments={"x": value})
    assert got == value
    assert repr(in_order(got)) == repr(in_order(value))  # 1 is not 1.0 is not True, and -0.0 is not 0.0


plain = st.one_of(
    st.booleans(),
    st.integers(INT_MIN, INT_MAX),
    st.floats(allow_nan=False),
    st.text(max_size=20),
)
trees = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4),
        st.dictionaries(st.text("abcxyz_", min_size=1, max_size=8), inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


def in_order(value: Value) -> Value:
    """Return the value with sorted map entries: their order is not significant."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@BOTH
async def test_any_tree_of_values_survives_a_round_trip(lab: Lab, language: Language) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    collected: list[Value] = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(trees)
    def collect(value: Value) -> None:
        collected.append(value)

    await loop.run_in_executor(None, collect)
    for value in collected:
        got = await lab.value(language, ECHO[language], arguments={"x": value})
        assert repr(in_order(got)) == repr(in_order(value))


@BOTH
async def test_numbers_that_json_lacks_still_travel(lab: Lab, language: Language) -> None:
    source = {LUA: "return {0/0, 1/0, -1/0, args.x, args.y}", SCHEME: "(list +nan.0 +inf.0 -inf.0 (arg 'x) (arg 'y))"}
    got = await lab.value(language, source[language], arguments={"x": math.inf, "y": -math.inf})
    assert isinstance(got, list)
    assert math.isnan(got[0])  # type: ignore[arg-type]
    assert got[1:] == [math.inf, -math.inf, math.inf, -math.inf]


RETURNS: list[tuple[str, Language, str, Value]] = [
    ("nothing", LUA, "", None),
    ("nothing said", LUA, "return", None),
    ("nil", LUA, "return nil", None),
    ("the first of several", LUA, "return 1, 2", 1),
    ("a string that is not UTF-8", LUA, 'return "\\xff"', b"\xff"),
    ("an empty table is a map", LUA, "return {}", {}),
    ("an empty array", LUA, "return json.array()", []),
    ("json.null", LUA, "return {json.null, 1}", [None, 1]),
    ("an integer and a float", LUA, "return {1 // 1, 1 / 1}", [1, 1.0]),
    ("unspecified", SCHEME, "(if #f #f)", None),
    ("a definition", SCHEME, "(define x 1)", None),
    ("no value", SCHEME, "(values)", None),
    ("the first of several", SCHEME, "(values 1 2)", 1),
    ("a symbol", SCHEME, "'abc", "abc"),
    ("a character", SCHEME, "#\\é", "é"),
    ("a ratio", SCHEME, "1/4", 0.25),
    ("an exact integer from a division", SCHEME, "(/ 8 4)", 2),
    ("the empty list", SCHEME, "'()", []),
    ("a vector", SCHEME, "#(1 2)", [1, 2]),
    ("an association list", SCHEME, "'((a . 1) (b . (2 3)))", {"a": 1, "b": [2, 3]}),
    ("the first entry of a key counts", SCHEME, "'((a . 1) (a . 2))", {"a": 1}),
    ("a list of lists", SCHEME, '(list (list "a" 1) (list "b" 2))', [["a", 1], ["b", 2]]),
    ("a vector that looks like an association list", SCHEME, "#((a . 1) (b . 2))", {"a": 1, "b": 2}),
    ("a hash table", SCHEME, '(let ((t (make-hash-table))) (hash-set! t "k" 1) (hash-set! t \'s 2) t)', {"k": 1, "s": 2}),
    ("a bytevector", SCHEME, "#u8(1 255)", b"\x01\xff"),
    ("null", SCHEME, "(list 'null 1)", [None, 1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "source", "expected"), [r[1:] for r in RETURNS], ids=[f"{r[1].value}-{r[0]}" for r in RETURNS]
)
async def test_script_returns_its_value(lab: Lab, language: Language, source: str, expected: Value) -> None:
    got = await lab.value(language, source or "local x = 1")
    assert repr(got) == repr(expected) or got == expected


NO_VALUES: list[tuple[str, Language, str, str]] = [
    ("a function", LUA, "return print", "function"),
    ("a function inside", LUA, "return {a = {b = print}}", "function"),
    ("a coroutine", LUA, "return coroutine.create(print)", "thread"),
    ("a table with itself inside", LUA, "local t = {} t.t = t return t", "itself"),
    ("a deep table", LUA, "local t = {} for i = 1, 100 do t = {t} end return t", "deeper"),
    ("mixed keys", LUA, "return {1, a = 2}", "a table has [1] and a; it is a list or a map, not both"),
    ("keys that are no strings", LUA, "return {[true] = 1}", "keys of a map are strings"),
    ("a procedure", SCHEME, "car", "not a value"),
    ("a procedure inside", SCHEME, "(list 1 car)", "not a value"),
    ("a record", SCHEME, "(define-record-type p (make-p) p?) (make-p)", "not a value"),
    ("a pair", SCHEME, "(cons 1 2)", "neither a list"),
    ("a list with itself inside", SCHEME, "(define l (list 1 2)) (set-car! l l) l", "contains itself"),
    ("a list without an end", SCHEME, "(define l (list 1 2)) (set-cdr! l l) l", "neither a list"),
    ("a complex number", SCHEME, "(sqrt -1)", "complex"),
    ("an integer of 65 bits", SCHEME, "(expt 2 64)", "64 bits"),
    ("a promise", SCHEME, "(delay 1)", "not a value"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "source", "says"), [n[1:] for n in NO_VALUES], ids=[f"{n[1].value}-{n[0]}" for n in NO_VALUES]
)
async def test_unsupported_value_is_reported(lab: Lab, language: Language, source: str, says: str) -> None:
    error = await lab.failure(language, source)
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "SCRIPT_ERROR")
    assert says in error.message


@BOTH
async def test_too_deeply_nested_value_is_reported(lab: Lab, language: Language) -> None:
    lua = "local t = {1} for i = 1, 30 do t = {t} end return t"
    scheme = "(define (nest n l) (if (= n 0) l (nest (- n 1) (list l)))) (nest 30 1)"
    error = await lab.failure(language, lua if language is LUA else scheme)
    assert "deeper than 16" in error.message


JSON_IN = [
    ("[]", []), ("{}", {}), ('""', ""), ("0", 0), ("-0.5e3", -500.0), ("[1, 2.0, 1e2]", [1, 2.0, 100.0]),
    ('"\\ud83d\\ude00\\n\\u0041"', "😀\nA"), ('{"a": {"b": [true, false]}}', {"a": {"b": [True, False]}}),
    (' [ 1 , { "x" : "y" } ] ', [1, {"x": "y"}]), ('"\\ud800"', "\ufffd"),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("text", "expected"), JSON_IN, ids=[t for t, _ in JSON_IN])
async def test_json_is_read(lab: Lab, language: Language, text: str, expected: Value) -> None:
    source = {LUA: "return json.decode(args.text)", SCHEME: "(json-decode (arg 'text))"}[language]
    got = await lab.value(language, source, arguments={"text": text})
    assert repr(got) == repr(expected)


@BOTH
@pytest.mark.parametrize("text", ["{}", "[]", '{"a":{},"b":[]}', "[{},[],[{}]]"])
async def test_json_that_is_read_and_written_is_the_same(lab: Lab, language: Language, text: str) -> None:
    lua, scheme = "return json.encode(json.decode(args.text))", "(json-encode (json-decode (arg 'text)))"
    got = await lab.value(language, lua if language is LUA else scheme, arguments={"text": text})
    assert json.loads(str(got)) == json.loads(text)


NUMBERS: list[tuple[str, Value]] = [
    ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("9223372036854775808", 2.0**63),
    ("1e308", 1e308), ("1e-400", 0.0), ("100000000000000000000000000000", 1e29), ("-0", 0), ("1E2", 100.0),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("text", "number"), NUMBERS, ids=[n[0] for n in NUMBERS])
async def test_a_number_of_json_is_alike_in_both_languages(
    lab: Lab, language: Language, text: str, number: Value
) -> None:
    source = {LUA: "return json.decode(args.text)", SCHEME: "(json-decode (arg 'text))"}[language]
    assert repr(await lab.value(language, source, arguments={"text": text})) == repr(number)


@BOTH
@pytest.mark.parametrize("text", ["1e400", "-1e400", "[1e309]", "9" * 400])
async def test_a_number_that_no_double_holds_is_not_read(lab: Lab, language: Language, text: str) -> None:
    source = {LUA: "json.decode(args.text)", SCHEME: "(json-decode (arg 'text))"}[language]
    error = await lab.failure(language, source, arguments={"text": text})
    assert "a number out of the range of a double" in error.message


BAD_JSON = [
    "", "[", "[1,", "[1,]", "{", '{"a"', '{"a":', '{"a":1,}', "{a:1}", "'a'", "01", "1.", ".5", "+1", "1e", "nul", "NaN",
    "Infinity", "[1] 2", '"\\x"', '"a', '"\n"', '"\\u12"', "[" * 5000, '{"a":' * 5000, "\ufeff1",
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("text", BAD_JSON, ids=[repr(t[:12]) for t in BAD_JSON])
async def test_invalid_json_is_reported_with_position(lab: Lab, language: Language, text: str) -> None:
    source = {LUA: "local v = json.decode(args.text) return v", SCHEME: "(json-decode (arg 'text))"}[language]
    error = await lab.failure(language, source, arguments={"text": text})
    assert (error.reason, error.line) == ("SCRIPT_ERROR", 1)
    assert "not JSON, line " in error.message


@BOTH
@pytest.mark.parametrize("what", ["cyclic", "not a number", "a function"])
async def test_value_without_json_form_is_reported(lab: Lab, language: Language, what: str) -> None:
    lua = {"cyclic": "local t = {} t.t = t return json.encode(t)", "not a number": "return json.encode(0/0)",
           "a function": "return json.encode(print)"}  # fmt: skip
    scheme = {"cyclic": "(define l (list 1 2)) (set-car! l l) (json-encode l)", "not a number": "(json-encode +nan.0)",
              "a function": "(json-encode car)"}  # fmt: skip
    error = await lab.failure(language, (lua if language is LUA else scheme)[what])
    assert error.reason == "SCRIPT_ERROR"
    assert any(word in error.message for word in ("itself", "NaN", "JSON", "value"))


@BOTH
async def test_json_written_is_json_read(lab: Lab, language: Language) -> None:
    import json

    value: Value = {"a": [1, 2.5, 'q"\\\n\u0007é😀'], "b": {"c": True}, "d": 1e21}
    source = {LUA: "return json.encode(args.x)", SCHEME: "(json-encode (arg 'x))"}[language]
    text = await lab.value(language, source, arguments={"x": value})
    assert json.loads(str(text)) == value


@BOTH
async def test_invalid_arguments_are_refused_before_sending(lab: Lab, language: Language) -> None:
    source = {
        LUA: 'device:call("led0.blink", {times = print})',
        SCHEME: '(call "led0.blink" (list (cons \'times car)))',
    }
    error = await lab.failure(language, source[language])
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert lab.porch.blinks == 0
