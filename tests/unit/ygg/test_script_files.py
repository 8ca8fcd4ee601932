"""What script files declare in their first comments, and which files are tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.codec import value_from_proto
from services.domain.values import Value
from ygg import program_files, script_files
from ygg.exits import UsageError
from ygg.script_files import Declared, find_tests, header, language, read, subject_of

LUA = """#!/usr/bin/env lua
-- Blink an LED.
-- In all houses.
--
-- @param times int How often.
--- @param label string? The label to show.
-- @result count int
-- @requires actuator.led@1+{blink(), on:bool rw}
return 1
-- @param late int
"""


@pytest.mark.parametrize("text", [LUA, LUA.replace("---", ";;;").replace("--", ";;")], ids=["lua", "scheme"])
def test_a_header(text: str) -> None:
    found = header(text)
    assert found.description == "Blink an LED.\nIn all houses."
    assert found.parameters == [
        Declared("times", "int", "How often."),
        Declared("label", "string", "The label to show.", True),
    ]
    assert found.results == [Declared("count", "int")]
    assert found.requires == ["actuator.led@1+{blink(), on:bool rw}"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "mark"])
def test_header_is_read_with_byte_order_mark_and_crlf(tmp_path: Path, mark: str, ends: str) -> None:
    text = ';; Blink.\n;; @version 1.2.0\n;; @requires actuator.led@1+\n(log "é")\n'
    file = tmp_path / "blink.scm"
    file.write_bytes((mark + text.replace("\n", ends)).encode())
    assert read(file) == text
    package = program_files.package(file)
    assert (package.manifest.version, package.source) == ("1.2.0", text)
    assert len(package.manifest.requires) == 1


def test_a_script_without_one_declares_nothing() -> None:
    found = header("return 1 -- @param x int")
    assert (found.description, found.parameters, found.results, found.requires) == ("", [], [], [])


@pytest.mark.parametrize("line", ["@param", "@param x", "@param X int", "@param x number", "@nothing", "@requires"])
def test_a_line_that_is_not_understood_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        header(f"-- Fine.\n-- {line}\n")


def test_tests_are_found_below_a_folder_each_with_its_script(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.lua", "a_test.lua", "b_test.scm", "deep/c_test.lua", "d_test.py", "test.lua"):
        (tmp_path / name).write_text(name)
    found = find_tests(tmp_path)
    assert [str(f.relative_to(tmp_path)) for f in found] == ["a_test.lua", "b_test.scm", "deep/c_test.lua"]
    assert [subject_of(f) for f in found] == ["a.lua", "", ""]
    for missing in (tmp_path / "deep" / "none", tmp_path / "nothing"):
        with pytest.raises(UsageError):
            find_tests(missing)


def test_non_script_file_is_refused_with_its_kind(tmp_path: Path) -> None:
    for name, data, says in (("x.bin", b"\xff", "UTF-8"), ("x.lua", b"-" * 300_000, "limit 262144")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=says):
            read(tmp_path / name)
    with pytest.raises(UsageError, match="directory"):
        read(tmp_path)
    with pytest.raises(UsageError, match="language"):
        language(tmp_path / "x.bin", "")
    assert (language(Path("a.scm"), ""), language(Path("a.txt"), "lua")) == ("scheme", "lua")


@pytest.mark.parametrize("first", ["#lang r7rs\n", ";; @dialect steel\n", "#!/usr/bin/env ygg\n", ""])
def test_manifest_is_read_behind_a_dialect(tmp_path: Path, first: str) -> None:
    file = tmp_path / "blink.scm"
    file.write_text(f"{first};; Blinks.\n;; @version 1.2.0\n(led-on)\n")
    manifest = program_files.package(file).manifest
    assert (manifest.version, manifest.description) == ("1.2.0", "Blinks.")
    assert script_files.header(f"{first};; Blinks.\n1").description == "Blinks."


def test_manifest_with_a_dialect_that_there_is_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "blink.scm"
    file.write_text(";; @dialect racket\n1\n")
    with pytest.raises(UsageError, match="expected steel or r7rs"):
        program_files.package(file)


@pytest.mark.parametrize(
    ("line", "default", "description"),
    [
        ('at string="0 7 * * *" When it begins.', "0 7 * * *", "When it begins."),
        ('at string="a \\"b\\" c" Quoted.', 'a "b" c', "Quoted."),
        ('at string="" None.', "", "None."),
        ("limit double=20.5 Degrees.", 20.5, "Degrees."),
        ("word string=x,y Without blanks.", "x,y", "Without blanks."),
    ],
)
def test_param_default_may_have_blanks_in_quotes(tmp_path: Path, line: str, default: object, description: str) -> None:
    file = tmp_path / "p.lua"
    file.write_text(f"-- @param {line}\nx = 1\n")
    parameter = program_files.package(file).manifest.parameters[0]
    assert (value_from_proto(parameter.default_value), parameter.description) == (default, description)


@pytest.mark.parametrize(
    ("line", "optional", "default"),
    [
        ("times int=3", False, 3),
        ("times int=3.0", False, 3),
        ("times double=3", False, 3.0),
        ("times string=007", False, "007"),
        ('times string="0 7 * * *"', False, "0 7 * * *"),
        ("times bool=on", False, True),
        ("times any=[1,2]", False, [1, 2]),
        ("times int?", True, None),
        ("times int=hot", False, "hot"),  # for the service to refuse
    ],
)
def test_a_parameter_of_a_program_is_read_as_its_type(
    tmp_path: Path, line: str, optional: bool, default: Value
) -> None:
    file = tmp_path / "p.lua"
    file.write_text(f"-- @param {line}\nlog(args.times)")
    parameter = program_files.package(file).manifest.parameters[0]
    found = value_from_proto(parameter.default_value) if parameter.HasField("default_value") else None
    assert (found, type(found), parameter.optional) == (default, type(default), optional)


def test_program_argument_is_read_by_manifest_type(tmp_path: Path) -> None:
    file = tmp_path / "p.lua"
    file.write_text("-- @param label string\n-- @param level double\n-- @param rest any\nreturn 1")
    given = program_files.arguments(program_files.package(file).manifest, {"label": "5", "level": "5", "rest": "5"})
    found = {name: value_from_proto(value) for name, value in given.items()}
    assert found == {"label": "5", "level": 5.0, "rest": 5}
    assert type(found["level"]) is float


def test_a_type_that_there_is_not_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "p.lua"
    file.write_text("-- Fine.\n-- @param times number\nreturn 1")
    with pytest.raises(UsageError, match=r"line 2: .*unknown type number; expected one of any, bool, int"):
        program_files.package(file)
