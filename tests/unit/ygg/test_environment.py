"""Variables that say nothing."""

import pytest

from ygg import contexts
from ygg.cli import run
from ygg.environment import faults
from ygg.pki import passphrase


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("YGG_HOEM", "x", "YGG_HOEM is not known to ygg; YGG_HOME is"),
        ("YGG_BRIGDE_POLICY", "x", "YGG_BRIGDE_POLICY is not known to ygg; YGG_BRIDGE_POLICY may be"),
        ("YGG_NATS_STORE_BYTE", "x", "YGG_NATS_STORE_BYTE is not known to ygg; YGG_NATS_STORE_BYTES is"),
        ("YGG_ZZ", "x", "YGG_ZZ is not known to ygg"),
        ("YGG_CONTEXT", "", "YGG_CONTEXT is empty, which is as if it were not set"),
    ],
)
def test_variable_that_is_empty_or_misspelt_is_named(name: str, value: str, fault: str) -> None:
    assert list(faults({name: value, "PATH": "", "YGG_HOME": "/x", "YGG_BRIDGE_POLICY": "/p"})) == [fault]


def test_every_variable_that_ygg_reads_is_known() -> None:
    assert not list(faults(dict.fromkeys([passphrase.VARIABLE, contexts.VARIABLE, run.TRACEBACK], "x")))
