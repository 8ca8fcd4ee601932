"""The key-value buckets of devices, and who writes which; docs/DESIGN.md has the table of what each holds.

Whoever starts first makes a bucket, so the specifications stand here, where the services that share one meet.
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
"""A bridge whose lease is not renewed for this long is dead, and its devices are offline."""

SESSIONS = BucketSpec("sessions")
BRIDGES = BucketSpec("bridges", ttl_s=BRIDGE_LEASE_S)

SCRIPTS = BucketSpec("scripts", history=8, max_value_bytes=512 * 1024)
