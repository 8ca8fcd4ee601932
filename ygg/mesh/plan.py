"""Derive the processes of an embedded mesh from layout, ports and options: arguments and environment. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.domain import endpoints
from ygg.contexts import Context
from ygg.mesh import nats_keeper
from ygg.mesh.bootstrap import SERVICES, USER
from ygg.mesh.child import Spec
from ygg.mesh.layout import Layout
from ygg.mesh.natsconf import NatsPlan
from ygg.mesh.ports import ANY, LOOPBACK, Ports

PREFIX = {"registry": "REGISTRY", "jotunheim_bridge": "BRIDGE", "loki": "LOKI", "ota": "OTA"}
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_INHERITED_PREFIXES = ("OTEL_", "YGG_NATS_", *(f"YGG_{prefix}_" for prefix in PREFIX.values()))


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a mesh. With `public_link`, devices on other machines may connect, to the name or address `host`."""

    ports: Ports = field(default_factory=Ports)
    public_link: bool = True
    policy: Path | None = None
    log_level: str = "info"
    host: str = LOOPBACK

    @property
    def link_host(self) -> str:
        """The address that the device link listens on."""
        return ANY if self.public_link else LOOPBACK


def nats_plan(layout: Layout, ports: Ports) -> NatsPlan:
    """Return the configuration of nats-server."""
    return NatsPlan(
        listen=f"{LOOPBACK}:{ports.nats}",
        monitor=f"{LOOPBACK}:{ports.nats_monitor}",
        identity=layout.identity("service", "nats"),
        store=layout.nats / "store",
        kept=True,
    )


def context(layout: Layout, ports: Ports) -> Context:
    """Return the context of this mesh."""
    return Context(
        identity=str(layout.identity("user", USER)),
        registry=f"{LOOPBACK}:{ports.registry}",
        jotunheim_bridge=f"{LOOPBACK}:{ports.jotunheim_bridge}",
        loki=f"{LOOPBACK}:{ports.loki}",
        ota=f"{LOOPBACK}:{ports.ota}",
        link=f"{LOOPBACK}:{ports.link}",
        nats_monitor=f"http://{LOOPBACK}:{ports.nats_monitor}",
        mesh=str(layout.root),
    )


def specs(
    layout: Layout, options: Options, nats_server: str, environ: Mapping[str, str], code: list[str]
) -> list[Spec]:
    """Return the processes in start order. `code` lists the directories of our Python packages."""
    nats = Spec(
        name="nats",
        argv=_nats_argv(layout, options.ports, nats_server),
        env=_environment(environ),
        log=layout.logs / "nats.log",
        cwd=layout.root,
        stop_s=15.0,  # two processes stop one after the other
    )
    return [nats, *(_service(name, layout, options, environ, code) for name in SERVICES)]


def _nats_argv(layout: Layout, ports: Ports, nats_server: str) -> list[str]:
    plan = nats_plan(layout, ports)
    keeper = [sys.executable, "-I", nats_keeper.__file__, "--store", str(plan.store), "--monitor", plan.monitor]
    return [*keeper, "--", nats_server, "-c", str(layout.nats / "nats.conf")]


def _service(name: str, layout: Layout, options: Options, environ: Mapping[str, str], code: list[str]) -> Spec:
    prefix = f"YGG_{PREFIX[name]}_"
    settings = {prefix + key: value for key, value in _settings(name, layout, options).items()}
    return Spec(
        name=name,
        argv=[sys.executable, "-P", "-m", f"services.{name}"],
        env={**_environment(environ), "PYTHONPATH": ":".join(code), "PYTHONUNBUFFERED": "1", **settings},
        log=layout.logs / f"{name}.log",
        cwd=layout.root,
    )


def _settings(name: str, layout: Layout, options: Options) -> dict[str, str]:
    ports = options.ports
    common = {
        "LISTEN": f"{LOOPBACK}:{getattr(ports, name)}",
        "IDENTITY": str(layout.identity("service", name)),
        "NATS_URL": f"tls://{LOOPBACK}:{ports.nats}",
        "LOG_LEVEL": options.log_level,
    }
    if name != "jotunheim_bridge":  # the bridge has no local state
        common["DATA_DIR"] = str(layout.data(name))
    registry = {"REGISTRY_ENDPOINT": f"{LOOPBACK}:{ports.registry}"}
    if name == "jotunheim_bridge":
        policy = {"POLICY": str(options.policy)} if options.policy else {}
        ota = {"OTA_ENDPOINT": f"{LOOPBACK}:{ports.ota}"}
        return {**common, **registry, **ota, **policy, "LINK_LISTEN": f"{options.link_host}:{ports.link}"}
    if name == "registry":
        enrol = {
            "ENROL_LISTEN": f"{options.link_host}:{ports.enrol}",
            "ENROL_ADVERTISE": endpoints.join(options.host, ports.enrol),
        }
        return {**common, **enrol}
    if name == "loki":
        return {**common, **registry, "BRIDGE_ENDPOINT": f"{LOOPBACK}:{ports.jotunheim_bridge}"}
    if name == "ota":
        return {**common, **registry, "IMAGES_LISTEN": f"{options.link_host}:{ports.images}"}
    return common


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that children inherit: an allowlist, so that secrets of the shell stay out."""
    return {key: value for key, value in environ.items() if key in _INHERITED or key.startswith(_INHERITED_PREFIXES)}
