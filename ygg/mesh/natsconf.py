"""The configuration of nats-server: mutual TLS, one user a service, JetStream. Pure: paths and ports in, text out.

Clients are known by their certificate alone: `verify_and_map` takes the URI SAN `ygg://main/service/<id>` as the
user's name, so there is no password to keep. What a user may do is `grants`. The syntax of the file is a superset of
JSON: https://docs.nats.io/running-a-nats-service/configuration
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ygg.mesh.grants import GRANTS, publish_subjects, subscribe_subjects
from ygg.mesh.nats_keeper import ACCOUNT, LIMIT
from ygg.pki.names import Identity, Kind

_MEMORY_STORE_BYTES = 256 * 1024 * 1024
_ANY_STORE_BYTES = 2**50
"""More than any disk has: the limit is that of the account. By default nats-server takes three quarters of what happens
to be free when it starts, and below what streams have reserved it lets nobody make them smaller."""
_LIMIT = f"${LIMIT}"
_HEADER = """# Written by ygg; changes are overwritten. Users are known by the URI SAN of their certificate;
# what each may do comes from one table in ygg/mesh/grants.py.
"""


@dataclass(frozen=True, slots=True)
class NatsPlan:
    """Where nats-server listens and keeps things. `monitor` is HOST:PORT of the plain-HTTP health endpoint.

    `kept`: it runs under `nats_keeper`, which says by a variable how much may be stored. Else nothing limits that.
    """

    listen: str
    monitor: str
    identity: Path
    store: Path
    server_name: str = "ygg-nats"
    sync_always: bool = False
    kept: bool = False


def render(plan: NatsPlan) -> str:
    """The configuration file. `plan.identity` holds cert.pem, key.pem and services.pem of the nats service."""
    jetstream: dict[str, object] = {
        "store_dir": str(plan.store),
        "max_memory_store": _MEMORY_STORE_BYTES,
        "max_file_store": _ANY_STORE_BYTES,
    }
    if plan.sync_always:
        jetstream["sync_interval"] = "always"
    config = {
        "server_name": plan.server_name,
        "listen": plan.listen,
        "http": plan.monitor,
        "tls": {
            "cert_file": str(plan.identity / "cert.pem"),
            "key_file": str(plan.identity / "key.pem"),
            "ca_file": str(plan.identity / "services.pem"),
            "verify_and_map": True,
            "min_version": "1.3",
            "timeout": 5,
        },
        "jetstream": jetstream,
        "accounts": {
            ACCOUNT: {
                "jetstream": {"max_disk": _LIMIT if plan.kept else -1},
                "users": [_user(service) for service in GRANTS],
            }
        },
        "write_deadline": "5s",
    }
    # A variable is no string: it stands without quotes.
    return _HEADER + json.dumps(config, indent=2, ensure_ascii=False).replace(f'"{_LIMIT}"', _LIMIT) + "\n"


def _user(service: str) -> dict[str, object]:
    return {
        "user": Identity(Kind.SERVICE, service).uri,
        "permissions": {
            "publish": {"allow": publish_subjects(service)},
            "subscribe": {"allow": subscribe_subjects(service)},
        },
    }
