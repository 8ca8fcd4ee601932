"""The arguments of a call of one device or of many."""

from __future__ import annotations

import pytest

from ygg.cli.device_many import ActionCall
from ygg.exits import UsageError


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["porch-1", "led0.blink", "times=3"], ActionCall(["porch-1"], "led0", "blink", {"times": "3"})),
        (["a", "b", "led0.off"], ActionCall(["a", "b"], "led0", "off", {})),
        (["led0.blink", "x=1.5", "y=a=b"], ActionCall([], "led0", "blink", {"x": "1.5", "y": "a=b"})),
    ],
)
def test_the_first_word_with_a_dot_is_the_action(words: list[str], meant: ActionCall) -> None:
    assert ActionCall.of(words) == meant


@pytest.mark.parametrize(
    "words",
    [["porch-1"], ["porch-1", "blink"], ["porch-1", "x=1.5"], ["a", "led0."], ["a", "led0.x", "b"], ["led0.a.b"]],
)
def test_invalid_call_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        ActionCall.of(words)
