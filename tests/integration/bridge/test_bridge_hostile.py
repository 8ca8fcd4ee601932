"""Devices that break the rules of the link: each loses its own link, with the reason, and nobody else's."""

from __future__ import annotations

import ssl

import pytest

from tests.fakes.device import LinkDevice, LinkEndedError, document, hello, led
from tests.fixtures.mesh import Mesh
from tests.fixtures.pki import Pki
from yggdrasil.device.v1 import link_pb2 as link

PROTOCOL_ERROR = link.GOODBYE_CODE_PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"device_id": "porch-2"}, link.REFUSED_CODE_IDENTITY, "the certificate is of one-"),
        ({"protocol_min": 2, "protocol_max": 3}, link.REFUSED_CODE_PROTOCOL, "protocol 1"),
        ({"boot_id": 0}, link.REFUSED_CODE_MALFORMED, "boot_id is 0"),
        ({"limits": link.Limits()}, link.REFUSED_CODE_MALFORMED, "256 to 16384"),
        ({"hardware": link.Hardware(model="x" * 32)}, link.REFUSED_CODE_MALFORMED, "hardware.model"),
        ({"firmware": link.Firmware(version="1\n0")}, link.REFUSED_CODE_MALFORMED, "firmware.version"),
        ({"capabilities_digest": b"short"}, link.REFUSED_CODE_MALFORMED, "capabilities_digest is 5"),
        ({"capabilities_size_bytes": 0}, link.REFUSED_CODE_MALFORMED, "capabilities_size_bytes"),
        (
            {"features": [link.FeatureOffer(name="warp", min_version=1, max_version=1, required=True)]},
            link.REFUSED_CODE_FEATURE,
            "warp",
        ),
    ],
)
async def test_a_hello_out_of_bounds_is_refused_with_the_reason(
    mesh: Mesh, changes: dict[str, object], code: int, says: str
) -> None:
    device = await mesh.device()
    device.send(hello=hello(mesh.one, document(), **changes))
    answer = await device.expect("refused")
    assert answer.code == code
    assert says in answer.message
    assert await device.ended() == []


async def test_a_feature_that_is_not_required_is_declined_and_the_device_goes_on(mesh: Mesh) -> None:
    device = await mesh.device()
    offer = link.FeatureOffer(name="warp", min_version=1, max_version=4)
    device.send(hello=hello(mesh.one, document(), features=[offer]))
    assert [(f.name, f.version) for f in (await device.expect("welcome")).features] == [("warp", 0)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00", PROTOCOL_ERROR),
        (b"\xff\xff\xff\x7f", PROTOCOL_ERROR),
        (b"\x81\x80\x04" + b"x" * 10, PROTOCOL_ERROR),
        (b"\x05\xff\xff\xff\xff\xff", PROTOCOL_ERROR),
        (b"\x02\x9a\x01", PROTOCOL_ERROR),
        (b"\x03\x9a\x01\x00", link.GOODBYE_CODE_UNKNOWN_FRAME),
        (b"\x02\x32\x00", PROTOCOL_ERROR),
    ],
    ids=[
        "empty frame",
        "endless length",
        "65 KB frame",
        "garbage",
        "truncated tag",
        "unknown critical",
        "invoke first",
    ],
)
async def test_bytes_that_are_no_hello_end_the_link(mesh: Mesh, data: bytes, code: int) -> None:
    device = await mesh.device()
    device.send_bytes(data)
    assert [frame.goodbye.code for frame in await device.ended()] == [code]


async def test_an_unknown_optional_frame_is_skipped(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    device.send_bytes(b"\x03\x82\x04\x00")  # body 64, empty
    device.send(ping=link.Ping(token=3))
    assert (await device.expect("pong")).token == 3


async def test_a_frame_longer_than_agreed_ends_an_active_session(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    device.send_bytes(b"\x81\x08" + b"x" * 1025)
    assert (await device.ended())[-1].goodbye.code == PROTOCOL_ERROR


@pytest.mark.parametrize("page", [link.CapabilityPage(offset=1, data=b"x"), link.CapabilityPage(offset=0)])
async def test_pages_with_gaps_or_nothing_in_them_end_the_link(mesh: Mesh, page: link.CapabilityPage) -> None:
    device = await mesh.device()
    device.send(hello=hello(mesh.one, mesh.fresh_document()))
    await device.expect("welcome")
    device.send(capability_page=page)
    assert (await device.ended())[-1].goodbye.code == PROTOCOL_ERROR


async def test_a_digest_that_lies_about_its_pages_is_refused_and_not_remembered(mesh: Mesh) -> None:
    true = mesh.fresh_document()
    lie = true.replace(b"led_", b"led-")
    device = await mesh.device()
    device.send(hello=hello(mesh.one, true))
    await device.expect("welcome")
    device.send(capability_page=link.CapabilityPage(offset=0, data=lie))
    assert (await device.expect("refused")).code == link.REFUSED_CODE_CAPABILITIES
    other = await mesh.device(mesh.two)
    other.send(hello=hello(mesh.two, true))
    assert (await other.expect("welcome")).send_capabilities


async def test_malformed_and_doubled_capabilities_are_refused_one_by_one(mesh: Mesh) -> None:
    device = await mesh.device()
    offered = document(led(), led(), led("9lives"), led("fan0", "fan"), led("led1", version=0))
    notice = await device.negotiate(offered)
    assert (notice.accepted, notice.refused) == (1, 4)
    assert [r.reason for r in notice.refusals] == [3, 2, 2, 2]


async def test_an_event_that_is_not_in_the_document_ends_the_session(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    device.send(event=link.Event(sequence=1, capability=9, event=0))
    assert (await device.ended())[-1].goodbye.code == PROTOCOL_ERROR


async def test_a_peer_without_our_protocol_name_is_cut_off(mesh: Mesh) -> None:
    device = await mesh.device(alpn="h2")
    device.send(hello=hello(mesh.one, document()))
    assert await device.ended() == []


@pytest.mark.parametrize("kind", ["other mesh", "user", "service", "expired"])
async def test_certificates_that_are_not_of_a_living_device_of_this_mesh_get_no_link(
    mesh: Mesh, other_pki: Pki, kind: str
) -> None:
    files = {
        "other mesh": lambda: other_pki.files("device", mesh.one),
        "user": lambda: mesh.pki.files("user", "operator"),
        "service": lambda: mesh.pki.files("service", "loki"),
        "expired": lambda: mesh.pki.expired("device", mesh.one),
    }[kind]()
    if kind == "other mesh":  # it would not trust us either; give it our CA, so that the refusal is the bridge's
        ours = (mesh.pki.directory("device", mesh.one) / "services.pem").read_bytes()
        (files.directory / "services.pem").write_bytes(ours)
    with pytest.raises((ssl.SSLError, LinkEndedError, ConnectionError)):
        device = await LinkDevice.connect(mesh.processes.endpoint("link"), files, mesh.one)
        device.send(hello=hello(mesh.one, document()))
        await device.receive()
    good = await mesh.device(mesh.two)
    assert (await good.negotiate()).accepted == 1
