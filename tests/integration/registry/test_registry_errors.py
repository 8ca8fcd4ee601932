"""The google.rpc details of errors with generic clients: plain gRPC and grpcurl."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from yggdrasil.common.v1 import requirement_pb2
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc

GRPCURL = Path(sys.executable).parent / "grpcurl"
LONG = "x" * 64
INVALID: list[tuple[str, Message, list[str]]] = [
    ("GetDevice", rp.GetDeviceRequest(device_id="Porch 1"), ["device_id"]),
    ("RegisterDevice", rp.RegisterDeviceRequest(device_id="porch-1", labels={"Zone": "a"}), ["labels"]),
    ("RegisterDevice", rp.RegisterDeviceRequest(device_id="porch-1", state=99), ["state"]),  # type: ignore[arg-type]
    ("ListDevices", rp.ListDevicesRequest(page_size=-1), ["page_size"]),
    ("ListDevices", rp.ListDevicesRequest(page_token="No"), ["page_token"]),
    ("ListDevices", rp.ListDevicesRequest(selector="=a"), ["selector"]),
    ("ListDevices", rp.ListDevicesRequest(has=["actuator.led", "led"]), ["has"]),
    ("ListDevices", rp.ListDevicesRequest(group=LONG), ["group"]),
    ("FindDevices", rp.FindDevicesRequest(requirements=[requirement_pb2.Requirement(type="led")]), ["requirements[0]"]),
    ("SetGroup", rp.SetGroupRequest(group=rp.Group(name="hall", selector="=a")), ["group.selector"]),
    ("SetGroup", rp.SetGroupRequest(group=rp.Group(name=LONG, selector="*")), ["group.name"]),
    ("DeleteGroup", rp.DeleteGroupRequest(name=LONG), ["name"]),
    ("GetCapabilityDocument", rp.GetCapabilityDocumentRequest(digest="0"), ["digest"]),
]


def plain_channel(endpoint: str, pki: Pki) -> grpc.aio.Channel:
    """A channel with the operator's certificate and default options."""
    files = pki.files("user", "operator")
    credentials = grpc.ssl_channel_credentials(
        files.read("services.pem"), files.read("key.pem"), files.read("cert.pem")
    )
    return grpc.aio.secure_channel(endpoint, credentials, options=[("grpc.ssl_target_name_override", "registry")])


@pytest.fixture
async def plain(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    async with plain_channel(service.listen, pki) as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)


async def details(call: Any) -> dict[str, Any]:
    """Return the details of a failed call by type."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert (status.code, status.message) == (caught.value.code().value[0], caught.value.details())
    found: dict[str, Any] = {}
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
        for detail in status.details:
            if detail.Is(kind.DESCRIPTOR):
                found[kind.__name__] = kind.FromString(detail.value)
    assert len(found) == len(status.details)
    return found


@pytest.mark.parametrize(("method", "request_", "fields"), INVALID)
async def test_bad_request_names_the_field(plain: Any, method: str, request_: Message, fields: list[str]) -> None:
    found = await details(getattr(plain, method)(request_))
    assert [one.field for one in found["BadRequest"].field_violations] == fields
    assert all(one.description for one in found["BadRequest"].field_violations)
    assert found["ErrorInfo"].domain == "yggdrasil"
    assert "RetryInfo" not in found


async def test_missing_device_has_error_info_only(plain: Any) -> None:
    found = await details(plain.GetDevice(rp.GetDeviceRequest(device_id="absent-1")))
    assert list(found) == ["ErrorInfo"]
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].metadata["device"]) == ("DEVICE_NOT_FOUND", "absent-1")


async def test_retry_info_when_the_store_is_away(
    fresh_nats: NatsServer, start_service: StartService, pki: Pki, tmp_path: Path
) -> None:
    process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path / "registry")
    process.ready()
    fresh_nats.kill()
    async with plain_channel(process.listen, pki) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        found = await details(stub.RegisterDevice(rp.RegisterDeviceRequest(device_id="porch-1"), timeout=60))
    assert found["ErrorInfo"].reason == "STORE_UNAVAILABLE"
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1000


def test_grpcurl_shows_the_details(service: ServiceProcess, pki: Pki) -> None:
    files = pki.directory("user", "operator")
    argv = [str(GRPCURL), "-format-error", "-cacert", f"{files}/services.pem"]
    argv += ["-cert", f"{files}/cert.pem", "-key", f"{files}/key.pem", "-d", '{"device_id": "Porch 1"}']
    argv += [service.listen, "yggdrasil.registry.v1.RegistryService/GetDevice"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    by_type = {one["@type"].rpartition(".")[2]: one for one in json.loads(done.stderr)["details"]}
    assert by_type["ErrorInfo"]["reason"] == "INVALID_ID"
    assert [one["field"] for one in by_type["BadRequest"]["field_violations"]] == ["device_id"]
