"""The environment of the processes of an embedded mesh."""

from pathlib import Path

import pytest

from services.jotunheim_bridge.config import BridgeSettings
from services.loki.config import LokiSettings
from services.ota.config import OtaSettings
from services.registry.config import RegistrySettings
from ygg.exits import UsageError
from ygg.mesh import plan
from ygg.mesh.child import Spec
from ygg.mesh.layout import Layout
from ygg.mesh.plan import Options
from ygg.mesh.ports import Ports
from ygg.pki.hosts import hosts

LAYOUT = Layout(Path("/mesh"))
SETTINGS = {
    "registry": RegistrySettings,
    "jotunheim_bridge": BridgeSettings,
    "loki": LokiSettings,
    "ota": OtaSettings,
}
ENVIRONMENT = {
    "PATH": "/bin",
    "HOME": "/root",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t",
    "SSH_AUTH_SOCK": "/x",
    "YGG_LOKI_DRAIN_S": "1",
    "YGG_HOME": "/x",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
}


def specs(options: Options | None = None) -> dict[str, Spec]:
    found = plan.specs(LAYOUT, options or Options(), "/bin/nats-server", ENVIRONMENT, ["/code", "/code/gen"])
    return {one.name: one for one in found}


def test_nats_is_started_first_so_that_it_is_stopped_last() -> None:
    assert list(specs()) == ["nats", "registry", "jotunheim_bridge", "loki", "ota"]


@pytest.mark.parametrize("name", ["nats", *SETTINGS])
def test_secrets_of_the_shell_are_not_passed_on(name: str) -> None:
    environment = specs()[name].env
    assert not {"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "YGG_HOME"} & environment.keys()
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4317"


@pytest.mark.parametrize("name", SETTINGS)
def test_each_service_accepts_settings_of_plan(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    for key, value in specs(Options(policy=policy))[name].env.items():
        monkeypatch.setenv(key, value)
    settings = SETTINGS[name]()
    port = getattr(Ports(), name)
    assert settings.listen == f"127.0.0.1:{port}"
    assert settings.identity == Path(f"/mesh/identities/service/{name}")
    assert settings.nats_url == "tls://127.0.0.1:4222"


def test_devices_come_from_anywhere_unless_ports_are_free_ones() -> None:
    assert specs()["jotunheim_bridge"].env["YGG_BRIDGE_LINK_LISTEN"] == "0.0.0.0:7443"
    private = specs(Options(public_link=False))["jotunheim_bridge"].env
    assert private["YGG_BRIDGE_LINK_LISTEN"] == "127.0.0.1:7443"
    assert "YGG_BRIDGE_POLICY" not in private


def test_the_context_leads_to_the_same_ports() -> None:
    context = plan.context(LAYOUT, Ports(registry=1, jotunheim_bridge=2, loki=3, ota=4, link=5, nats=6, nats_monitor=7))
    assert (context.registry, context.jotunheim_bridge) == ("127.0.0.1:1", "127.0.0.1:2")
    assert (context.link, context.nats_monitor, context.mesh) == ("127.0.0.1:5", "http://127.0.0.1:7", "/mesh")


def test_hosts_are_classified_by_form() -> None:
    names = hosts(["mesh.lan", "10.0.0.7", "fd00::7", "under_score"])
    assert names.dns == ("mesh.lan", "under_score")
    assert [str(ip) for ip in names.ips] == ["10.0.0.7", "fd00::7"]


@pytest.mark.parametrize("word", ["", "a b", "-a", "a..b", "*.lan", "a" * 64, "x\n", "http://x"])
def test_invalid_host_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        hosts([word])
