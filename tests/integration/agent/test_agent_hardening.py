"""Hardening by the compiler and linker, read from the agent's executable."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.fakes.board import AGENT


@pytest.fixture(scope="module")
def elf() -> str:
    command = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", "--dyn-syms", str(AGENT)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_agent_is_position_independent(elf: str) -> None:
    assert re.search(r"Type:\s+DYN", elf)
    assert "INTERP" in elf
    assert re.search(r"FLAGS_1.*\bPIE\b", elf)


def test_agent_binds_at_start_and_makes_relocations_read_only(elf: str) -> None:
    assert "GNU_RELRO" in elf
    assert re.search(r"\(FLAGS(_1)?\).*\bNOW\b", elf)


def test_agent_has_no_executable_stack(elf: str) -> None:
    (flags,) = re.findall(r"GNU_STACK(?:\s+0x[0-9a-f]+){5}\s+([RWE ]+)", elf)
    assert "E" not in flags


def test_agent_checks_its_stack_and_its_calls_of_libc(elf: str) -> None:
    assert "__stack_chk_fail" in elf
    assert set(re.findall(r"__(\w+)_chk@", elf)) - {"stack"}
