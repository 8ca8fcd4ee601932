"""Thing Descriptions: valid by the published schema of W3C WoT TD 1.1, and equivalent to the contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from jsonschema import Draft7Validator

from services.domain import thing
from services.domain.capability import Action, Capability, Event, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from tests.fixtures.strategies import contracts
from tests.fixtures.td_schema import fetch
from yggdrasil.jotunheim.v1 import bridge_pb2

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FACTS = thing.Facts(WHEN, "porch board", "sim", "1.0.0")
CELSIUS = Schema(ValueType.DOUBLE, "Cel", -40, 125)
SENSOR = Capability(
    "temp0",
    "sensor.temperature",
    2,
    (
        Property("celsius", CELSIUS, observable=True),
        Property("offset", Schema(ValueType.INT, "", -5.0, 5), writable=True),
        Property("secret", Schema(ValueType.BYTES, max_length=16), readable=False, writable=True),
        Property("nothing", CELSIUS, readable=False),
    ),
    (
        Action("calibrate", (Parameter("to", CELSIUS), Parameter("note", Schema(ValueType.STRING), optional=True))),
        Action("sample", (), (Parameter("celsius", CELSIUS),), streamed=True),
    ),
    (Event("over", (Parameter("celsius", CELSIUS),)),),
)
CONTRACT = Contract("porch-1", "0" * 64, (SENSOR,), (), LinkTerms(1, 1024, 1024, 4, 10_000), "", 3, "1" * 64, WHEN)


@cache
def validator() -> Draft7Validator:
    schema = json.loads(fetch().read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)


def rendered(contract: Contract = CONTRACT) -> Any:
    return json.loads(json.dumps(thing.describe(contract, FACTS)))


def hrefs(affordance: Any, operation: str) -> list[str]:
    return [form["href"] for form in affordance["forms"] if operation in form["op"]]


def test_the_schema_is_that_of_version_one_point_one(td_schema: dict[str, Any]) -> None:
    assert td_schema["version"].startswith("1.1-")
    assert td_schema["title"] == "Thing Description"


@given(contracts)
def test_every_contract_renders_to_a_valid_thing_description(contract: Contract) -> None:
    validator().validate(rendered(contract))


def test_schema_refuses_invalid_thing_description() -> None:
    for broken in (
        {"id": "not a uri"},
        {"created": "yesterday"},
        {"@context": ["https://example.org/"]},
        {"security": None},
        {"properties": {"x": {"type": "double", "forms": []}}},
        {"securityDefinitions": {"mtls": {"scheme": "mtls"}}},
    ):
        assert list(validator().iter_errors({**rendered(), **broken})), broken


def test_properties_carry_type_unit_bounds_and_access() -> None:
    properties = rendered()["properties"]
    assert sorted(properties) == ["temp0.celsius", "temp0.offset", "temp0.secret"]
    celsius, offset, secret = properties["temp0.celsius"], properties["temp0.offset"], properties["temp0.secret"]
    assert (celsius["type"], celsius["unit"], celsius["minimum"], celsius["maximum"]) == ("number", "Cel", -40, 125)
    assert (celsius["readOnly"], celsius["observable"], celsius["@type"], celsius["ygg:version"]) == (
        *(True, True),
        "ygg:sensor.temperature",
        2,
    )
    assert (offset["type"], offset["readOnly"], offset["writeOnly"]) == ("integer", False, False)
    assert isinstance(offset["minimum"], int)
    assert (secret["writeOnly"], secret["contentEncoding"], secret["maxLength"]) == (True, "base64", 24)
    assert hrefs(secret, "readproperty") == []
    assert "unit" not in offset


def test_actions_and_events_carry_their_values() -> None:
    found = rendered()
    calibrate, sample = found["actions"]["temp0.calibrate"], found["actions"]["temp0.sample"]
    assert list(calibrate["input"]["properties"]) == ["to", "note"]
    assert calibrate["input"]["required"] == ["to"]
    assert "output" not in calibrate and "input" not in sample
    assert sample["ygg:streamed"] is True
    assert found["events"]["temp0.over"]["data"]["properties"]["celsius"]["unit"] == "Cel"


def test_each_form_names_a_bridge_rpc_and_request_fields() -> None:
    service = bridge_pb2.DESCRIPTOR.services_by_name["BridgeService"]
    found = rendered()
    forms = [f for group in ("properties", "actions", "events") for a in found[group].values() for f in a["forms"]]
    assert len(forms) == 8
    for form in forms:
        url = urlsplit(form["href"])
        assert (url.scheme, url.netloc) == ("grpc", "jotunheim_bridge")
        name, rpc = url.path.strip("/").split("/")
        assert name == service.full_name
        request = service.methods_by_name[rpc].input_type
        call = request if "call" not in request.fields_by_name else bridge_pb2.InvokeRequest.DESCRIPTOR
        assert set(parse_qs(url.query)) <= set(call.fields_by_name)
    assert hrefs(found["properties"]["temp0.celsius"], "observeproperty")[0].endswith("kinds=EVENT_KIND_TELEMETRY")
    assert "InvokeStream?" in hrefs(found["actions"]["temp0.sample"], "invokeaction")[0]


def test_id_is_stable_and_unique_across_meshes() -> None:
    assert rendered()["id"] == rendered(replace(CONTRACT, revision=9, digest="2" * 64))["id"]
    assert rendered()["id"].startswith("urn:uuid:")
    elsewhere = replace(FACTS, create_time=datetime(2025, 1, 1, tzinfo=UTC))
    assert thing.describe(CONTRACT, elsewhere)["id"] != rendered()["id"]


@pytest.mark.parametrize(
    ("facts", "text"), [(FACTS, "porch board, device class sim, firmware 1.0.0"), (thing.Facts(WHEN), "a device of")]
)
def test_description_summarises_the_device(facts: thing.Facts, text: str) -> None:
    assert str(thing.describe(CONTRACT, facts)["description"]).startswith(text)
