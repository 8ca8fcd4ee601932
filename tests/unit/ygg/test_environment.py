"""Variables that say nothing."""

import pytest

from ygg import contexts
from ygg.cli import run
from ygg.environment import faults
from ygg.pki import passphrase


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("YGG_HOEM", "x", "unknown variable YGG_HOEM; did you mean YGG_HOME?"),
        ("YGG_BRIGDE_POLICY", "x", "unknown variable YGG_BRIGDE_POLICY; did you mean YGG_BRIDGE_POLICY?"),
        ("YGG_NATS_STORE_BYTE", "x", "unknown variable YGG_NATS_STORE_BYTE; did you mean YGG_NATS_STORE_BYTES?"),
        ("YGG_ZZ", "x", "unknown variable YGG_ZZ"),
        ("YGG_CONTEXT", "", "YGG_CONTEXT is empty and is ignored"),
    ],
)
def test_variable_that_is_empty_or_misspelt_is_named(name: str, value: str, fault: str) -> None:
    assert list(faults({name: value, "PATH": "", "YGG_HOME": "/x", "YGG_BRIDGE_POLICY": "/p"})) == [fault]


def test_every_variable_that_ygg_reads_is_known() -> None:
    assert not list(faults(dict.fromkeys([passphrase.VARIABLE, contexts.VARIABLE, run.TRACEBACK], "x")))
