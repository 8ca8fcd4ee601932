"""NATS permissions of each service: the table of grants, and their expansion to JetStream API subjects. Pure.

Owns least privilege on NATS; `natsconf` renders the server configuration. API subjects are documented at
https://docs.nats.io/reference/reference-protocols/nats_api_reference.

Limitation: a client that may create a consumer chooses its delivery subject, and JetStream does not check it against
the client's permissions. The grants isolate faulty services; they do not contain a compromised one.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.subjects import EVENT_STREAM, OTA_STREAM, TENANT

_READ_API = (
    "$JS.API.STREAM.INFO.{s}",
    "$JS.API.STREAM.MSG.GET.{s}",
    "$JS.API.DIRECT.GET.{s}",
    "$JS.API.DIRECT.GET.{s}.>",
    "$JS.API.CONSUMER.CREATE.{s}",
    "$JS.API.CONSUMER.CREATE.{s}.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.{s}.>",
    "$JS.API.CONSUMER.INFO.{s}.>",
    "$JS.API.CONSUMER.DELETE.{s}.>",
    "$JS.API.CONSUMER.MSG.NEXT.{s}.>",
    "$JS.ACK.{s}.>",
    "$JS.FC.{s}.>",
)
_OWN_API = ("$JS.API.STREAM.CREATE.{s}", "$JS.API.STREAM.UPDATE.{s}", "$JS.API.STREAM.PURGE.{s}")

# nats-py looks up a stream by its subject when it subscribes (object store, too); the response holds names only.
_COMMON_API = ("$JS.API.INFO", "$JS.API.STREAM.NAMES")

_DEVICE = f"ygg.v1.{TENANT}.device"
_BRIDGES = "ygg.v1.bridge.>"


@dataclass(frozen=True, slots=True)
class Grant:
    """The permissions of one service: names of KV buckets, object-store buckets and streams, and plain subjects."""

    kv: tuple[str, ...] = ()
    kv_read: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    streams_read: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


GRANTS = {
    # The registry closes the sessions of a dead bridge and publishes their offline events.
    "registry": Grant(
        kv=(
            *("devices", "contracts", "contract_bodies", "documents", "sessions"),
            *("groups", "twin_desired", "twin_reported", "twin_programs", "enrolment_tokens"),
        ),
        kv_read=("bridges",),
        streams_read=(EVENT_STREAM,),
        publish=(f"{_DEVICE}.*.offline",),
        subscribe=(f"{_DEVICE}.>",),
    ),
    "jotunheim_bridge": Grant(
        kv=("sessions", "bridges"),
        kv_read=("devices", "twin_desired"),
        streams=(EVENT_STREAM,),
        publish=(f"{_DEVICE}.>", _BRIDGES),
        subscribe=(f"{_DEVICE}.>", _BRIDGES, f"ygg.v1.{TENANT}.ota.*.attend"),
    ),
    # Not `ygg.v1.*.>`: that would let loki receive the calls that bridges forward to each other.
    "loki": Grant(
        kv=("scripts", "programs", "program_store", "program_instances", "loki_replicas"),
        streams_read=(EVENT_STREAM,),
        publish=(f"ygg.v1.{TENANT}.loki.>",),
        subscribe=(f"ygg.v1.{TENANT}.>",),
    ),
    "ota": Grant(
        kv=(
            "releases",
            "rollouts",
            "ota_devices",
            "ota_archive",
            "ota_deltas",
            "ota_downloads",
            "ota_leases",
            "ota_parts",
        ),
        objects=("images",),
        streams=(OTA_STREAM,),
        publish=(f"ygg.v1.{TENANT}.ota.>",),
    ),
}


def inbox(service: str) -> str:
    """Return the inbox prefix of a service; no other service may subscribe to it."""
    return f"_INBOX_{service}"


def publish_subjects(service: str) -> list[str]:
    """Return all subjects that `service` may publish to, sorted."""
    grant = GRANTS[service]
    own = [f"KV_{b}" for b in grant.kv] + [f"OBJ_{b}" for b in grant.objects] + list(grant.streams)
    read = [f"KV_{b}" for b in grant.kv_read] + list(grant.streams_read)
    subjects = {*_COMMON_API, f"{inbox(service)}.>", *grant.publish}
    subjects.update(f"$KV.{bucket}.>" for bucket in grant.kv)
    subjects.update(f"$O.{bucket}.>" for bucket in grant.objects)
    subjects.update(api.format(s=stream) for stream in (*own, *read) for api in _READ_API)
    subjects.update(api.format(s=stream) for stream in own for api in _OWN_API)
    return sorted(subjects)


def subscribe_subjects(service: str) -> list[str]:
    """Return all subjects that `service` may subscribe to, sorted."""
    return sorted({f"{inbox(service)}.>", *GRANTS[service].subscribe})
