"""The configuration of nats-server and the table of grants, as text."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.chassis import buckets
from services.domain import subjects
from ygg.mesh.grants import GRANTS, inbox, publish_subjects, subscribe_subjects
from ygg.mesh.natsconf import NatsPlan, render

PLAN = NatsPlan("127.0.0.1:4222", "127.0.0.1:8222", Path("/identity"), Path("/data"))


def parsed(plan: NatsPlan = PLAN) -> dict[str, Any]:
    text = "\n".join(line for line in render(plan).splitlines() if not line.startswith("#"))
    found: dict[str, Any] = json.loads(text)
    return found


def covers(pattern: str, subject: str) -> bool:
    """NATS's own rule: `*` is one token, `>` is one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def may_publish(service: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in publish_subjects(service))


def may_subscribe(service: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in subscribe_subjects(service))


def test_clients_authenticate_by_certificate_only() -> None:
    config = parsed()
    assert config["tls"]["verify_and_map"] is True
    users = config["accounts"]["YGG"]["users"]
    assert [user["user"] for user in users] == [f"ygg://main/service/{s}" for s in GRANTS]
    assert "password" not in render(PLAN)
    assert {key for user in users for key in user} == {"user", "permissions"}
    assert not {"authorization", "default_permissions", "no_auth_user"} & config.keys()


def test_store_limit_is_a_variable_of_whoever_runs_the_server() -> None:
    kept = render(NatsPlan("127.0.0.1:1", "127.0.0.1:2", Path("/i"), Path("/d"), kept=True))
    assert '"max_disk": $YGG_NATS_STORE_LIMIT' in kept
    assert parsed()["jetstream"]["max_file_store"] >= 10**15
    assert parsed()["accounts"]["YGG"]["jetstream"]["max_disk"] == -1


def test_paths_are_written_without_unicode_escapes() -> None:
    text = render(NatsPlan("127.0.0.1:1", "127.0.0.1:2", Path("/häuser/i"), Path("/家/d")))
    assert '"store_dir": "/家/d"' in text
    assert '"cert_file": "/häuser/i/cert.pem"' in text


def test_power_loss_safety_is_an_option() -> None:
    assert "sync_interval" not in parsed()["jetstream"]
    safe = NatsPlan("127.0.0.1:1", "127.0.0.1:2", Path("/i"), Path("/d"), sync_always=True)
    assert parsed(safe)["jetstream"]["sync_interval"] == "always"


@pytest.mark.parametrize("service", GRANTS)
def test_no_user_has_all_permissions(service: str) -> None:
    for subject in (*publish_subjects(service), *subscribe_subjects(service)):
        assert not subject.startswith((">", "*", "$JS.API.>", "$KV.>", "$JS.>", "ygg.>", "$SYS"))
    assert not may_publish(service, "$SYS.REQ.SERVER.PING")


@pytest.mark.parametrize("service", GRANTS)
def test_answers_go_to_their_own_inbox_only(service: str) -> None:
    for other in GRANTS:
        assert may_subscribe(service, f"{inbox(other)}.x.y") is (service == other)
        assert may_publish(service, f"{inbox(other)}.x.y") is (service == other)


@pytest.mark.parametrize(
    ("bucket", "writers"),
    [
        (buckets.DEVICES.name, {"registry"}),
        (buckets.CONTRACTS.name, {"registry"}),
        (buckets.CONTRACT_BODIES.name, {"registry"}),
        (buckets.DOCUMENTS.name, {"registry"}),
        (buckets.SESSIONS.name, {"registry", "jotunheim_bridge"}),
        (buckets.BRIDGES.name, {"jotunheim_bridge"}),
        ("scripts", {"loki"}),
        ("programs", {"loki"}),
        ("program_store", {"loki"}),
        ("releases", {"ota"}),
        ("rollouts", {"ota"}),
    ],
)
def test_bucket_is_written_by_owners_and_never_deleted(bucket: str, writers: set[str]) -> None:
    assert {s for s in GRANTS if may_publish(s, f"$KV.{bucket}.key")} == writers
    assert {s for s in GRANTS if may_publish(s, f"$JS.API.STREAM.PURGE.KV_{bucket}")} == writers
    assert not [s for s in GRANTS if may_publish(s, f"$JS.API.STREAM.DELETE.KV_{bucket}")]


def test_device_events_come_from_bridges_and_registry() -> None:
    online = subjects.device("porch-1", subjects.Kind.ONLINE)
    offline = subjects.device("porch-1", subjects.Kind.OFFLINE)
    assert {s for s in GRANTS if may_publish(s, online)} == {"jotunheim_bridge"}
    assert {s for s in GRANTS if may_publish(s, offline)} == {"jotunheim_bridge", "registry"}


def test_only_bridges_hear_the_calls_of_bridges() -> None:
    call = subjects.bridge("b1", "invoke")
    assert {s for s in GRANTS if may_subscribe(s, call)} == {"jotunheim_bridge"}
    assert {s for s in GRANTS if may_publish(s, call)} == {"jotunheim_bridge"}
