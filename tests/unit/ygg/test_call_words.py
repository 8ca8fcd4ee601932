"""What was typed for a call of one device or of many."""

from __future__ import annotations

import pytest

from ygg.cli.device_many import Wanted
from ygg.exits import UsageError


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["porch-1", "led0.blink", "times=3"], Wanted(["porch-1"], "led0", "blink", {"times": "3"})),
        (["a", "b", "led0.off"], Wanted(["a", "b"], "led0", "off", {})),
        (["led0.blink", "x=1.5", "y=a=b"], Wanted([], "led0", "blink", {"x": "1.5", "y": "a=b"})),
    ],
)
def test_the_first_word_with_a_dot_is_the_action(words: list[str], meant: Wanted) -> None:
    assert Wanted.of(words) == meant


@pytest.mark.parametrize(
    "words",
    [["porch-1"], ["porch-1", "blink"], ["porch-1", "x=1.5"], ["a", "led0."], ["a", "led0.x", "b"], ["led0.a.b"]],
)
def test_what_is_no_call_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        Wanted.of(words)
