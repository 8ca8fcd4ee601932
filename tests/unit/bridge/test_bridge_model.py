"""The rules of negotiation, policy and translation, without sockets or stores."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.contract import LinkTerms, RefusalReason
from services.domain.errors import ArgumentError, ContractError, InvalidIdError, InvalidRequestError
from services.domain.values import Value
from services.jotunheim_bridge.errors import HelloRefusedError, LinkError, ResultError
from services.jotunheim_bridge.model import negotiation, policy, translate
from services.jotunheim_bridge.model.calls import DeviceCall, Operation
from services.jotunheim_bridge.model.negotiation import Agreement, BridgeLimits
from services.jotunheim_bridge.model.policy import Policy
from tests.fakes.device import document, hello, led
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link

TERMS = LinkTerms(1, 1024, 1024, 2, 1000)
READ = DeviceCall("porch-1", Operation.READ, "led0", "on")


def blink(arguments: dict[str, Value]) -> DeviceCall:
    return DeviceCall("porch-1", Operation.ACTION, "led0", "blink", arguments)


def agreed(*capabilities: cp.Capability, rules: Policy | None = None) -> Agreement:
    return negotiation.agree("porch-1", document(*capabilities), rules or Policy(), TERMS)


def test_terms_are_the_smaller_of_both_sides() -> None:
    limits = link.Limits(rx_frame_bytes=512, tx_frame_bytes=9000, calls_in_flight=40, rx_record_bytes=512)
    found = negotiation.terms(hello("a", b"x", limits=limits), BridgeLimits(4096, 16, 5000))
    assert found == LinkTerms(1, 512, 4096, 16, 5000)


def test_pages_fit_a_frame_of_the_device_with_their_envelope() -> None:
    terms = LinkTerms(1, 256, 256, 1, 1000)
    page = link.CapabilityPage(offset=16383, data=b"x" * negotiation.page_bytes(terms))
    assert link.Frame(capability_page=page).ByteSize() <= 256


@given(st.binary(max_size=300))
def test_any_document_gives_a_contract_or_a_refusal(data: bytes) -> None:
    try:
        found = negotiation.agree("porch-1", data, Policy(), TERMS)
    except HelloRefusedError as e:
        assert e.code == link.REFUSED_CODE_CAPABILITIES
    else:
        assert found.contract.document_digest == hashlib.sha256(data).hexdigest()
        assert len(found.refused_positions) == len(found.contract.refused)


def test_more_capabilities_than_allowed_are_refused_whole() -> None:
    with pytest.raises(HelloRefusedError, match="33 capabilities, at most 32"):
        agreed(*(led(f"led{n}") for n in range(33)))


def test_positions_follow_document_despite_refusals() -> None:
    found = agreed(led("siren0", "actuator.siren"), led("led0"), rules=Policy("demo", deny=("actuator.siren",)))
    assert found.positions == {"led0": 1}
    assert found.refused_positions == (0,)
    assert translate.link_call(found, READ).capability == 1


def test_names_of_refused_capabilities_are_made_printable() -> None:
    found = agreed(led("LED\x1b[31m" + "x" * 99))
    assert found.contract.refused[0].reason is RefusalReason.MALFORMED
    assert found.contract.refused[0].capability_id.isprintable()
    assert len(found.contract.refused[0].capability_id) <= 32


@pytest.mark.parametrize(
    ("rules", "semantic_type", "refused"),
    [
        (Policy(), "actuator.led", False),
        (Policy("p", deny=("actuator.*",)), "actuator.led", True),
        (Policy("p", deny=("actuator.*",)), "sensor.temperature", False),
        (Policy("p", allow=("sensor.*",)), "actuator.led", True),
        (Policy("p", allow=("sensor.*",), deny=("sensor.camera",)), "sensor.camera", True),
        (Policy("p", allow=()), "sensor.x", True),
        (Policy("p", deny=("actuator.led",)), "actuator.leds", False),
    ],
)
def test_a_policy_denies_before_it_allows(rules: Policy, semantic_type: str, refused: bool) -> None:
    assert bool(rules.refusal(semantic_type)) is refused
    assert len(rules.refusal(semantic_type).encode()) <= 63


@pytest.mark.parametrize(
    "text",
    [[[]], {"name": "p", "alow": []}, {"name": "P!"}, {"name": "p", "deny": "x"}, {"name": "p", "deny": ["a b"]}],
)
def test_invalid_policy_is_refused(text: object) -> None:
    with pytest.raises((InvalidRequestError, InvalidIdError)):
        policy.parse(text)


def test_arguments_are_sent_by_index_without_missing_optionals() -> None:
    call = translate.link_call(agreed(), blink({"times": 2}))
    frame = call.frame("c", 100).invoke
    assert [(a.index, a.value.integer) for a in frame.arguments] == [(0, 2)]


@pytest.mark.parametrize("value", ["1", 1.5, True, None, 0, 21, 2**70, b"1", [1], {"a": 1}])
def test_a_value_that_does_not_fit_never_becomes_a_frame(value: object) -> None:
    with pytest.raises(ArgumentError):
        translate.link_call(agreed(), blink({"times": value}))  # type: ignore[dict-item]


def test_read_and_write_need_a_property_that_allows_it() -> None:
    with pytest.raises(ContractError, match="cannot be written"):
        translate.link_call(agreed(), DeviceCall("porch-1", Operation.WRITE, "led0", "hours", {"hours": 1}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "lacks count"),
        ([link.Argument(index=1, value=link.LinkValue(integer=1))], "value 1"),
        ([link.Argument(index=0, value=link.LinkValue(text="x"))], "requires int"),
        ([link.Argument(index=0)], "requires int"),
    ],
)
def test_results_against_the_contract_are_an_error(values: list[link.Argument], says: str) -> None:
    call = translate.link_call(agreed(), blink({"times": 2}))
    with pytest.raises(ResultError, match=says):
        translate.results(call, link.Result(values=values))


def test_event_is_ignored_when_refused_and_fatal_when_unknown() -> None:
    found = agreed(led(), led("siren0", "actuator.siren"), rules=Policy("demo", deny=("actuator.siren",)))
    fields = [link.Argument(index=0, value=link.LinkValue(integer=3))]
    named = translate.event(found, link.Event(capability=0, event=0, fields=fields))
    assert named == translate.NamedEvent("led0", "failed", {"code": 3})
    assert translate.event(found, link.Event(capability=1, event=0)) is None
    for wrong in (link.Event(capability=2), link.Event(capability=0, event=1), link.Event(capability=0, event=0)):
        with pytest.raises(LinkError):
            translate.event(found, wrong)


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary()))
def test_values_cross_the_link_unchanged(value: bool | int | float | str | bytes) -> None:
    crossed = link.LinkValue.FromString(translate.to_link(value).SerializeToString())
    back = translate.from_link(crossed)
    assert back == value
    assert type(back) is type(value)


def test_text_with_zero_byte_is_refused() -> None:
    text = cp.Property(name="label", schema=cp.DataSchema(type=cp.VALUE_TYPE_STRING), writable=True)
    found = agreed(cp.Capability(id="lcd0", type="actuator.display", version=1, properties=[text]))
    call = DeviceCall("porch-1", Operation.WRITE, "lcd0", "label", {"label": "on\0off"})
    with pytest.raises(ArgumentError, match="zero byte"):
        translate.link_call(found, call)


def largest_welcome(*names: str) -> int:
    """The frame of a Welcome with the largest value of every number."""
    welcome, most = (
        link.Welcome(session_id="x" * 36, send_capabilities=True),
        {"uint32": 2**32 - 1, "uint64": 2**64 - 1},
    )
    for field in link.Welcome.DESCRIPTOR.fields:
        if field.type in (field.TYPE_UINT32, field.TYPE_UINT64):
            setattr(welcome, field.name, most["uint32" if field.type == field.TYPE_UINT32 else "uint64"])
    for name in names:
        welcome.features.add(name=name, version=most["uint32"])
    return link.Frame(welcome=welcome).ByteSize()


@pytest.mark.parametrize("names", [(), ("twin",), ("f" * 32,) * 3, tuple(negotiation.FEATURES)])
def test_welcome_is_bounded_by_its_largest_form(names: tuple[str, ...]) -> None:
    bound = negotiation.WELCOME_BYTES + sum(negotiation.CHOICE_BYTES + len(name) for name in names)
    assert bound - 1 <= largest_welcome(*names) <= bound


def test_hello_is_checked_against_largest_welcome() -> None:
    def offering(last: int) -> link.Hello:
        names = ["a" * 32, "b" * 32, "c" * 32, "d" * last]
        offers = [link.FeatureOffer(name=name, min_version=1, max_version=1) for name in names[: 4 if last else 3]]
        limits = link.Limits(rx_frame_bytes=256, tx_frame_bytes=256, calls_in_flight=1, rx_record_bytes=512)
        return hello("porch-1", b"x", features=offers, limits=limits)

    negotiation.check_hello(offering(0), "porch-1")
    with pytest.raises(HelloRefusedError, match=r"Welcome may take 262 bytes, limits\.rx_frame_bytes allows 256"):
        negotiation.check_hello(offering(1), "porch-1")


@pytest.mark.parametrize("values", [[], [link.Argument(index=1, value=link.LinkValue(integer=1))]])
def test_an_optional_result_or_field_is_sent_all_the_same(values: list[link.Argument]) -> None:
    offered = led()
    for parameter in (offered.actions[0].results[0], offered.events[0].fields[0]):
        parameter.optional = True
    found = agreed(offered)
    with pytest.raises(ResultError):
        translate.results(translate.link_call(found, blink({"times": 1})), link.Result(values=values))
    with pytest.raises(LinkError):
        translate.event(found, link.Event(sequence=1, fields=values))


def test_id_is_free_when_earlier_capability_was_refused() -> None:
    found = agreed(led("led0", version=0), led("led0"), led("led0"))
    assert found.positions == {"led0": 1}
    assert [refusal.reason for refusal in found.contract.refused] == [RefusalReason.MALFORMED, RefusalReason.DUPLICATE]
    siren = led("led0", "actuator.siren")
    found = agreed(siren, led("led0"), siren, rules=Policy("p", deny=("actuator.siren",)))
    assert [refusal.reason for refusal in found.contract.refused] == [RefusalReason.POLICY, RefusalReason.DUPLICATE]


def test_a_length_on_a_number_is_malformed() -> None:
    offered = led()
    offered.properties[1].schema.max_length = 64
    assert agreed(offered).contract.refused[0].message == "max_length applies only to string and bytes"


def test_a_document_without_capabilities_is_a_contract() -> None:
    found = negotiation.agree("porch-1", b"", Policy(), TERMS)
    assert (found.contract.capabilities, found.contract.refused) == ((), ())
    negotiation.check_hello(hello("porch-1", b""), "porch-1")


def test_of_several_refusals_the_first_is_sent() -> None:
    required = link.FeatureOffer(name="warp", min_version=1, max_version=1, required=True)
    bad = hello("porch-2", b"x", protocol_min=2, protocol_max=2, boot_id=0, features=[required])
    codes = []
    for mend in ({"device_id": "porch-1"}, {"protocol_min": 1}, {"boot_id": 1}, {}):
        try:
            negotiation.check_hello(bad, "porch-1")
            negotiation.choose_features(bad)
        except HelloRefusedError as e:
            codes.append(e.code)
        for name, value in mend.items():
            setattr(bad, name, value)
    wanted = ("IDENTITY", "PROTOCOL", "MALFORMED", "FEATURE")
    assert codes == [link.RefusedCode.Value(f"REFUSED_CODE_{name}") for name in wanted]
