"""The key-value buckets of devices and their writers; docs/explanation/design.md has the table of their contents.

The service that starts first creates a bucket, so the specifications are shared by all services that use one.
"""

from services.chassis.kv import BucketSpec

DEVICES = BucketSpec("devices", history=8)
CONTRACTS = BucketSpec("contracts", history=64)
CONTRACT_BODIES = BucketSpec("contract_bodies")
DOCUMENTS = BucketSpec("documents")
GROUPS = BucketSpec("groups")
TWIN_DESIRED = BucketSpec("twin_desired", history=16)
TWIN_REPORTED = BucketSpec("twin_reported", history=16)
TWIN_PROGRAMS = BucketSpec("twin_programs")
ENROLMENT_TOKENS = BucketSpec("enrolment_tokens", ttl_s=90 * 86_400)

BRIDGE_LEASE_S = 5.0
"""Lifetime of a bridge's lease, in seconds. If it is not renewed, the bridge is dead and its devices are offline."""

SESSIONS = BucketSpec("sessions")
BRIDGES = BucketSpec("bridges", ttl_s=BRIDGE_LEASE_S)

SCRIPTS = BucketSpec("scripts", history=8, max_value_bytes=512 * 1024)
