"""The mesh in containers, used with grpcurl and a client certificate."""

from __future__ import annotations

import json

import pytest

from tests.e2e.containers.mesh import DEVICES, SERVICES, ComposeMesh

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

BRIDGE = "yggdrasil.jotunheim.v1.BridgeService"
OF = {
    "registry": "yggdrasil.registry.v1.RegistryService",
    "jotunheim_bridge": BRIDGE,
    "loki": "yggdrasil.loki.v1.LokiService",
    "ota": "yggdrasil.ota.v1.OtaService",
}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_lists_and_describes_itself_and_is_healthy(compose: ComposeMesh, service: str) -> None:
    assert OF[service] in compose.grpcurl(service, "list").stdout.splitlines()
    assert f"{OF[service]} is a service:" in compose.grpcurl(service, "describe", OF[service]).stdout
    assert json.loads(compose.grpcurl(service, "grpc.health.v1.Health/Check").stdout) == {"status": "SERVING"}


@pytest.mark.parametrize("device", DEVICES)
def test_a_write_reaches_the_board_of_a_device(compose: ComposeMesh, device: str) -> None:
    for on, shown in ((True, "on"), (False, "off"), (True, "on")):
        request = {"device_id": device, "capability": "led0", "property": "on", "value": {"bool": on}}
        done = compose.grpcurl("jotunheim_bridge", f"{BRIDGE}/WriteProperty", data=json.dumps(request))
        assert done.returncode == 0, done.stderr
        assert compose.board(device, "led0.on") == shown


def test_an_action_answers_with_its_result(compose: ComposeMesh) -> None:
    before = int(compose.board("porch-1", "cnt0.count"))
    request = {"device_id": "porch-1", "capability": "cnt0", "action": "add", "arguments": {"n": {"int": 5}}}
    done = compose.grpcurl("jotunheim_bridge", f"{BRIDGE}/Invoke", data=json.dumps(request))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"]["count"]["int"] == str(before + 5)
    assert compose.board("porch-1", "cnt0.count") == str(before + 5)


def test_call_outside_contract_is_refused(compose: ComposeMesh) -> None:
    before = compose.run("porch-1", "board", "stats", "porch-1")
    arguments = {"times": {"int": 3}, "period_ms": {"int": 9000}}
    request = {"device_id": "porch-1", "capability": "led0", "action": "blink", "arguments": arguments}
    done = compose.grpcurl("jotunheim_bridge", f"{BRIDGE}/Invoke", data=json.dumps(request))
    assert done.returncode != 0
    assert "FailedPrecondition" in done.stderr
    assert "5000" in done.stderr, "the message states the contract's range"
    assert compose.run("porch-1", "board", "stats", "porch-1") == before


def test_nothing_is_disclosed_without_client_certificate(compose: ComposeMesh) -> None:
    assert OF["registry"] in compose.grpcurl("registry", "list").stdout, "with one it works"
    done = compose.grpcurl("registry", "list", anonymous=True)
    assert done.returncode != 0
    assert OF["registry"] not in done.stdout
