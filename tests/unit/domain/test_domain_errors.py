"""Errors and the fields that they name."""

from __future__ import annotations

import pytest

from services.domain import ids
from services.domain.errors import ContractError, InvalidIdError, InvalidRequestError, in_field


def fields(error: InvalidRequestError | ContractError) -> list[str]:
    return [one.field for one in error.violations]


def test_field_becomes_a_violation_and_no_data() -> None:
    error = InvalidRequestError("page_size is 7", field="page_size", position=3)
    assert (fields(error), error.violations[0].description) == (["page_size"], "page_size is 7")
    assert error.data == {"position": "3"}
    assert fields(InvalidRequestError("no call")) == []


def test_in_field_prefixes_the_field_or_is_it() -> None:
    with pytest.raises(InvalidRequestError) as caught, in_field("spec"), in_field("waves"):
        raise InvalidRequestError("too many")
    assert fields(caught.value) == ["spec.waves"]
    with pytest.raises(InvalidIdError) as bad, in_field("record"):
        ids.device_id("Porch 1")
    assert [one.field for one in bad.value.violations] == ["record.device_id"]


def test_in_field_leaves_other_codes_alone() -> None:
    with pytest.raises(ContractError) as caught, in_field("spec"):
        raise ContractError("it has no led0")
    assert fields(caught.value) == []
