"""docs/reference/protocol.md against link.proto, link.options, the constants of the code and the bad-input tests.

The page is hand-written; these tests fail when it no longer matches the code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.chassis import arrivals
from services.jotunheim_bridge import ports
from services.jotunheim_bridge.adapters import connection, listener
from services.jotunheim_bridge.config import BridgeSettings
from services.jotunheim_bridge.model import certificate, framing, negotiation, twin
from services.jotunheim_bridge.service import bridge, call_table, calls, negotiator, renewal, session, twins
from tests.integration.bridge.test_bridge_bad_input import ACTIVE, CALLED, NEW, PLAIN, ROWS, WELCOMED
from yggdrasil.device.v1 import link_pb2 as link

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/reference/protocol.md").read_text()
OPTIONS = (ROOT / "protos/yggdrasil/device/v1/link.options").read_text()
MESSAGES: dict[str, Descriptor] = dict(link.DESCRIPTOR.message_types_by_name)
ENUMS: dict[str, tuple[EnumDescriptor, str]] = {
    name: (enum, enum.values[0].name.removesuffix("UNSPECIFIED"))
    for name, enum in link.DESCRIPTOR.enum_types_by_name.items()
}
STATES = {
    NEW: "WAITING",
    WELCOMED: "PAGES",
    ACTIVE: "ACTIVE",
    PLAIN: "ACTIVE without features",
    CALLED: "a call in flight",
}
SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
}
BAD, HOSTILE = "integration/bridge/test_bridge_bad_input.py", "integration/bridge/test_bridge_hostile.py"
LINK, CALLS = "integration/bridge/test_bridge_link.py", "integration/bridge/test_bridge_calls.py"
ATTACKS = "integration/bridge/test_bridge_attacks.py"
TWIN, TWIN_RULES = "integration/bridge/test_bridge_twin.py", "unit/bridge/test_bridge_twin.py"
RENEWAL = "integration/bridge/test_bridge_renewal.py"
CLAIMS = "unit/bridge/test_bridge_claims.py"
RESUMED = "integration/bridge/test_bridge_resumption.py"
CERTIFICATES = "test_foreign_or_retired_certificates_get_no_link"
ELSEWHERE = {
    "tls-other-ca": (HOSTILE, CERTIFICATES),
    "tls-not-a-device": (HOSTILE, CERTIFICATES),
    "tls-expired": (HOSTILE, CERTIFICATES),
    "tls-expired-on-resumption": (RESUMED, "test_resumed_connection_is_checked_again"),
    "tls-other-protocol": (HOSTILE, "test_a_peer_without_our_protocol_name_is_cut_off"),
    "tls-slow-loris": (ATTACKS, "test_slow_loris_costs_only_its_own_connections"),
    "tls-half-done": (
        ATTACKS,
        "test_stalled_handshakes_hold_half_of_slots_and_yield",
    ),
    "tls-not-tls": (ATTACKS, "test_non_tls_connection_is_closed_immediately"),
    "tcp-half-open": (ATTACKS, "test_half_open_connections_end_by_their_time_in_every_state"),
    "connections-beyond-limit": (ATTACKS, "test_connection_above_limit_is_refused_with_reason"),
    "record-size": (ATTACKS, "test_no_tls_record_is_larger_than_the_device_can_receive"),
    "bridge-only-body": (BAD, "test_a_body_that_only_a_bridge_sends_is_a_protocol_error"),
    "hello-never": (BAD, "test_silent_device_is_disconnected_after_tls"),
    "hello-not-active": (LINK, "test_a_suspended_device_is_refused"),
    "hello-revoked": (LINK, "test_revoked_certificates_end_session_and_block_device"),
    "session-not-active": (LINK, "test_device_without_access_is_disconnected"),
    "session-revoked": (LINK, "test_revoked_certificates_end_session_and_block_device"),
    "claim-late": (CLAIMS, "test_a_claim_that_outlasts_the_negotiation_is_released"),
    "hello-feature-unknown": (BAD, "test_optional_feature_is_declined_and_session_continues"),
    "hello-no-capabilities": (LINK, "test_device_without_capabilities_connects"),
    "ping-between-pages": (BAD, "test_ping_between_pages_is_answered_during_negotiation"),
    "page-digest": (BAD, "test_digest_that_differs_from_pages_is_refused"),
    "capability-malformed": (BAD, "test_malformed_and_duplicate_capabilities_are_refused"),
    "capability-denied": (LINK, "test_a_device_negotiates_and_its_contract_is_stored"),
    "refusals-too-many": (BAD, "test_notice_fits_refusals_into_frame_limit_of_device"),
    "call-too-large": (BAD, "test_a_call_larger_than_the_device_can_receive_is_not_sent"),
    "calls-beyond-limit": (LINK, "test_no_more_calls_in_flight_than_the_contract_allows"),
    "call-other-boot": (CALLS, "test_a_call_first_sent_under_another_boot_is_not_sent_again"),
    "device-silent": (LINK, "test_a_silent_device_is_let_go"),
    "device-second-session": (LINK, "test_a_newer_session_replaces_the_older"),
    "device-vanishes": (LINK, "test_device_lost_during_call_leaves_outcome_unknown"),
    "device-does-not-read": (BAD, "test_a_device_that_does_not_read_loses_its_own_link"),
    "twin-value-out-of-bounds": (TWIN_RULES, "test_nonsense_ends_the_session"),
    "twin-crosses-update": (TWIN, "test_report_follows_new_document_after_update"),
    "twin-not-done": (TWIN, "test_why_something_was_not_done_can_be_seen"),
    "twin-busy": (TWIN_RULES, "test_busy_device_is_sent_the_delta_again_later"),
    "twin-not-in-contract": (TWIN_RULES, "test_properties_outside_contract_are_not_sent"),
    "twin-registry-unavailable": (TWIN, "test_unavailable_registry_delays_report_but_no_call"),
    "twin-desired-while-settling": (TWIN, "test_no_delta_is_lost_between_a_reconnect_and_its_report"),
    "twin-desired-offline": (TWIN, "test_desired_state_is_sent_when_device_connects"),
    "certificate-refused": (RENEWAL, "test_foreign_request_is_refused_and_link_continues"),
    "certificate-not-admitted": (RENEWAL, "test_suspended_device_is_not_renewed"),
    "certificate-registry-unavailable": (RENEWAL, "test_unavailable_registry_refuses_and_link_continues"),
    "event-resumed": (LINK, "test_stored_events_are_acknowledged_and_watched"),
}
"""Rows that need more than one frame and its answer, and the test that runs each."""

CONSTANTS = {
    "hello_frame_bytes": framing.HELLO_FRAME_BYTES,
    "min_frame_bytes": negotiation.MIN_FRAME_BYTES,
    "max_frame_bytes": framing.MAX_FRAME_BYTES,
    "min_record_bytes": negotiation.MIN_RECORD_BYTES,
    "max_document_bytes": negotiation.MAX_DOCUMENT_BYTES,
    "page_overhead_bytes": negotiation._PAGE_OVERHEAD_BYTES,
    "max_calls": negotiation.MAX_CALLS,
    "max_features": negotiation.MAX_FEATURES,
    "event_window": session.EVENT_WINDOW,
    "telemetry_credit": session.TELEMETRY_CREDIT,
    "max_samples": session.MAX_SAMPLES,
    "queued_frames": connection.INBOX_LIMIT,
    "unsolicited_frames": session.MAX_UNSOLICITED_FRAMES,
    "twin_frames": session.MAX_TWIN_REPORTS,
    "twin_entries": twin.MAX_STATES,
    "twin_report_gap_s": twins.REPORT_INTERVAL_S,
    "twin_busy_retry_s": twins.BUSY_RETRY_S,
    "twin_max_retry_s": twins.MAX_RETRY_S,
    "certificate_life_divisor": certificate.LIFE_DIVISOR,
    "certificate_check_s": renewal.CHECK_INTERVAL_S,
    "certificate_request_s": renewal.REQUEST_TIMEOUT_S,
    "certificate_retry_s": renewal.RETRY_INTERVAL_S,
    "certificate_bytes": certificate.MAX_ISSUED_BYTES,
    "certificate_slice_bytes": certificate.MAX_SLICE_BYTES,
    "skipped_frames": framing.MAX_SKIPPED,
    "partial_responses": call_table.MAX_PARTIAL_ANSWERS,
    "unread_pause_bytes": connection.UNREAD_PAUSE_BYTES,
    "unread_limit_bytes": ports.UNREAD_LIMIT_BYTES,
    "default_connections": BridgeSettings.model_fields["connections"].default,
    "default_arrivals": BridgeSettings.model_fields["arrivals"].default,
    "slot_wait_s": arrivals.MAX_WAIT_S,
    "contended_slot_s": arrivals.CONTENDED_SLOT_S,
    "contended_slot_factor": arrivals.CONTENDED_SLOT_FACTOR,
    "tls_handshake_s": listener.HANDSHAKE_TIMEOUT_S,
    "negotiation_s": negotiator.NEGOTIATION_TIMEOUT_S,
    "retry_after_ms": negotiator.RETRY_AFTER_MS,
    "silent_heartbeats": connection.SILENT_HEARTBEATS,
    "close_grace_s": connection.CLOSE_GRACE_S,
    "store_timeout_s": bridge.STORE_TIMEOUT_S,
    "default_heartbeat_ms": BridgeSettings.model_fields["heartbeat_ms"].default,
    "call_timeout_s": calls.MAX_TIMEOUT_S,
}
C_CONSTANTS = {
    "backoff_min_ms": ("firmware/ports/posix/options.c", "BACKOFF_MIN_MS"),
    "backoff_max_ms": ("firmware/ports/posix/options.c", "BACKOFF_MAX_MS"),
    "device_handshake_ms": ("firmware/ports/posix/fleet.c", "HANDSHAKE_TIMEOUT_MS"),
}


def section(title: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.M | re.S)
    assert found, f"protocol.md has no section {title}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of the lines of a section's tables, without heads. No cell holds a pipe."""
    lines = [line.strip() for line in text.splitlines() if line.lstrip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if re.fullmatch(r"\d+|`[a-z0-9_-]+`", row[0])]


def type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        name = str(field.message_type.name)
    else:
        name = str(field.enum_type.name) if field.enum_type is not None else SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_there_with_its_number_and_type(name: str) -> None:
    said = [tuple(row[:3]) for row in table(section(f"`{name}`"))]
    assert said == [(str(f.number), f"`{f.name}`", type_of(f)) for f in MESSAGES[name].fields]


@pytest.mark.parametrize("name", ENUMS)
def test_every_value_of_an_enum_is_there(name: str) -> None:
    enum, prefix = ENUMS[name]
    said = [(row[0], row[1]) for row in table(section(f"`{name}`"))]
    assert said == [(str(v.number), v.name.removeprefix(prefix)) for v in enum.values]


def bounds(message: str, field: str) -> str:
    return next(row[4] for row in table(section(f"`{message}`")) if row[1] == f"`{field}`")


def options() -> dict[tuple[str, str], tuple[str, int]]:
    """The bounded fields of link.options, and their bounds."""
    found = re.findall(r"^yggdrasil\.device\.v1\.(\w+)\.(\w+)\s+(max_\w+):(\d+)( fixed_length:true)?", OPTIONS, re.M)
    return {(message, field): (f"{kind}{fixed}", int(bound)) for message, field, kind, bound, fixed in found}


@pytest.mark.parametrize("bounded", options().items(), ids=lambda item: ".".join(item[0]))
def test_bounds_are_those_that_the_device_compiles_in(bounded: tuple[tuple[str, str], tuple[str, int]]) -> None:
    (message, field), (kind, bound) = bounded
    words = {
        "max_length": rf"(at most|\d+ to) {bound} bytes?\b",
        "max_size": rf"(at most|\d+ to) {bound} bytes?\b",
        "max_size fixed_length:true": rf"exactly {bound} bytes\b",
        "max_count": rf"(at most|\d+ to) {bound} entries\b",
    }[kind]
    assert re.match(words, bounds(message, field)), bounds(message, field)


def test_every_text_and_list_has_a_bound_on_the_device() -> None:
    open_ended = {
        (name, field.name)
        for name, message in MESSAGES.items()
        for field in message.fields
        if field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    }
    by_page_bytes = {("CapabilityPage", "data")}
    assert open_ended - by_page_bytes == set(options())
    assert bounds("CapabilityPage", "data") == "1 to `page_bytes` bytes"


def test_every_constant_is_that_of_the_code() -> None:
    said = {row[0].strip("`"): float(row[1]) for row in table(section("8 Heartbeat, times and limits"))}
    assert set(said) == set(CONSTANTS) | set(C_CONSTANTS)
    for name, value in CONSTANTS.items():
        assert said[name] == value, name
    for name, (path, constant) in C_CONSTANTS.items():
        found = re.search(rf"\b{constant} = (\d+)", (ROOT / path).read_text())
        assert found, f"{path} has no {constant}"
        assert said[name] == int(found[1]), name


def test_features_are_those_of_the_bridge() -> None:
    said = {row[0].strip("`"): row[1] for row in table(section("4 Negotiation"))}
    assert said == {
        name: f"{low}" if low == high else f"{low} to {high}" for name, (low, high) in negotiation.FEATURES.items()
    }


def test_reserved_bodies_are_those_of_the_proto() -> None:
    source = (ROOT / "protos/yggdrasil/device/v1/link.proto").read_text()
    reserved = re.search(r"message Frame \{\n  reserved ([^;]+);", source)
    assert reserved
    assert f"Reserved, never to be used with another meaning: {reserved[1]}." in section("14 Versioning")


def test_each_row_of_bad_input_is_a_test_and_each_test_a_row() -> None:
    said = [row[0].strip("`") for row in table(section("Bridge responses"))]
    assert len(said) == len(set(said))
    assert set(said) == {row.id for row in ROWS} | set(ELSEWHERE)
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row_states_the_response_its_test_expects(row: object) -> None:
    wanted = next(found for found in ROWS if found is row)
    said = next(cells for cells in table(section("Bridge responses")) if cells[0] == f"`{wanted.id}`")
    assert (said[1], said[3]) == (STATES[wanted.state], wanted.answer)


@pytest.mark.parametrize(("file", "test"), sorted(set(ELSEWHERE.values())))
def test_the_tests_of_the_other_rows_exist(file: str, test: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}


def test_device_rows_name_firmware_tests_that_run() -> None:
    source = "".join(path.read_text() for path in (ROOT / "firmware/tests").glob("test_*.c"))
    rows = table(section("Device responses"))
    assert rows
    for row in rows:
        test = row[4].strip("`")
        assert f"static void {test}(void)" in source, test
        assert len(re.findall(rf"\b{test}\b", source)) > 1, f"{test} is never run"


BODIES = {
    "`ping {token: 1}`": link.Frame(ping=link.Ping(token=1)),
    "`pong {}`, all defaults": link.Frame(pong=link.Pong()),
    "`event_ack {sequence: 300}`": link.Frame(event_ack=link.EventAck(sequence=300)),
    "`credit {telemetry: 32}`": link.Frame(credit=link.Credit(telemetry=32)),
    '`goodbye {code: SHUTDOWN, message: "bye"}`': link.Frame(
        goodbye=link.Goodbye(code=link.GOODBYE_CODE_SHUTDOWN, message="bye")
    ),
    '`result {call_id: "c1", status: OK, values: [{index: 0, value: {integer: -1}}]}`': link.Frame(
        result=link.Result(
            call_id="c1",
            status=link.RESULT_STATUS_OK,
            values=[link.Argument(index=0, value=link.LinkValue(integer=-1))],
        )
    ),
    "`capability_update_ack {send_capabilities: true, page_bytes: 992}`": link.Frame(
        capability_update_ack=link.CapabilityUpdateAck(send_capabilities=True, page_bytes=992)
    ),
}


def framed() -> dict[str, bytes]:
    """The frames of section 2 and their bytes."""
    found = re.findall(r"^  \| (.+) \| `((?:[0-9a-f]{2} ?)+)` \|$", section("2 Framing"), re.M)
    return {name: bytes.fromhex(text) for name, text in found}


def test_framed_bytes_are_those_of_the_codec() -> None:
    said = framed()
    assert said.pop("body 64 (unassigned), empty") == b"\x03\x82\x04\x00"
    assert said == {name: framing.encode(frame) for name, frame in BODIES.items()}
    for name, data in said.items():
        assert list(framing.FrameDecoder().feed(data)) == [BODIES[name]]
    lengths = re.findall(r"(\d+) is `([0-9a-f ]+)`", section("2 Framing"))
    assert len(lengths) == 4
    for length, text in lengths:
        assert framing.varint(int(length)) == bytes.fromhex(text)


STATEMENTS: list[tuple[str, str, str]] = re.findall(r"^\| E(\d+) \| (.+) \| (.+) \|$", PAGE, re.M)
RULES = PAGE[: PAGE.index("## 17 Statements")]
"""The text before the table of statements."""


def test_statements_are_numbered_and_appear_in_text() -> None:
    numbers = [int(number) for number, _, _ in STATEMENTS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {int(number) for number in re.findall(r"\(E(\d+)[;)]", RULES)} == set(numbers)


def test_each_obligation_has_a_number() -> None:
    """A paragraph or a point of a list that says MUST has the number of a statement. Section 16 has one a list."""
    for paragraph in re.split(r"\n\n|\n(?=- |\d\. )", RULES[: RULES.index("## 16 Enrolment")]):
        if "MUST" in paragraph and "RFC 2119" not in paragraph:
            assert re.search(r"\(E\d+[;)]", paragraph), paragraph


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda row: f"E{row[0]}")
def test_tests_cited_by_statements_exist(statement: tuple[str, str, str]) -> None:
    rows = {row[0].strip("`") for title in ("Bridge responses", "Device responses") for row in table(section(title))}
    firmware = "".join(path.read_text() for path in (ROOT / "firmware/tests").glob("test_*.c"))
    cited = re.findall(r"`([^`]+)`", statement[2])
    assert cited
    for one in cited:
        file, _, name = one.partition("::")
        if name:
            found = [*(ROOT / "tests").rglob(file), *(ROOT / "firmware/tests").glob(file)]
            assert any(re.search(rf"\b{name}\b", path.read_text()) for path in found), one
        else:
            assert one in rows or f"RUN({one})" in firmware, one
