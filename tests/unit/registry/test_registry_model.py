"""A device's life, and when a contract is a new revision."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from services.domain.contract import Contract, LinkTerms
from services.domain.errors import InvalidIdError
from services.registry import model
from services.registry.errors import TransitionError
from services.registry.model import Build, DeviceRecord, DeviceState
from tests.fakes.clock import NOW

TERMS = LinkTerms(1, 1024, 1024, 2, 1000)
CONTRACT = Contract("porch-1", "d" * 64, (), (), TERMS, "open", digest="e" * 64)
ALLOWED = {
    ("pending", "active"),
    ("pending", "retired"),
    ("active", "suspended"),
    ("active", "retired"),
    ("suspended", "active"),
    ("suspended", "retired"),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(DeviceState, DeviceState)))
def test_a_device_lives_only_along_the_drawn_ways(old: DeviceState, new: DeviceState) -> None:
    record = DeviceRecord("porch-1", old, NOW)
    if old is new or (old.value, new.value) in ALLOWED:
        assert model.with_changes(record, new, {}).state is new
    else:
        with pytest.raises(TransitionError):
            model.with_changes(record, new, {})


def test_labels_are_merged_and_empty_ones_removed() -> None:
    record = DeviceRecord("porch-1", DeviceState.ACTIVE, NOW, {"a": "1", "b": "2"})
    assert model.with_changes(record, None, {"b": "", "c": "3"}).labels == {"a": "1", "c": "3"}


def test_more_labels_than_allowed_are_refused() -> None:
    record = DeviceRecord("porch-1", DeviceState.ACTIVE, NOW, {f"a{n}": "1" for n in range(32)})
    with pytest.raises(InvalidIdError):
        model.with_changes(record, None, {"one-more": "1"})


def test_the_first_contract_is_revision_1() -> None:
    found = model.next_record(None, CONTRACT, Build(), NOW)
    assert (found.contract.revision, found.contract.negotiate_time) == (1, NOW)


def test_equal_contract_makes_no_new_revision() -> None:
    first = replace(model.next_record(None, CONTRACT, Build(), NOW), key_revision=5)
    assert model.next_record(first, CONTRACT, Build(), NOW) == first


def test_other_firmware_is_noted_without_a_new_revision() -> None:
    first = replace(model.next_record(None, CONTRACT, Build(firmware_version="1"), NOW), key_revision=5)
    second = model.next_record(first, CONTRACT, Build(firmware_version="2"), NOW)
    assert second.contract == first.contract
    assert second.build.firmware_version == "2"


@pytest.mark.parametrize(
    "change", [{"digest": "f" * 64}, {"policy": "demo"}, {"link": replace(TERMS, calls_in_flight=1)}]
)
def test_any_contract_difference_makes_next_revision(change: dict[str, object]) -> None:
    first = replace(model.next_record(None, CONTRACT, Build(), NOW), key_revision=5)
    second = model.next_record(first, replace(CONTRACT, **change), Build(), NOW)  # type: ignore[arg-type]
    assert (second.contract.revision, second.key_revision) == (2, 5)
