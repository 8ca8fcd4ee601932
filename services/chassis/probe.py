"""`python -m services.chassis.probe HOST:PORT IDENTITY_DIR`: exit status 0 if grpc.health.v1 reports SERVING.

For container health checks and supervisors; it uses the service's own certificate.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.credentials import OPTIONS, credentials
from services.chassis.identity import IdentityFiles
from services.domain.errors import YggError


def serving(endpoint: str, files: IdentityFiles, timeout_s: float = 3.0) -> bool:
    """Return whether the server at `endpoint` reports SERVING within `timeout_s` seconds."""
    with grpc.secure_channel(endpoint, credentials(files), options=OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as e:
            sys.stderr.write(f"{endpoint}: {e.code().name} {e.details()}\n")
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    if len(argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        return 0 if serving(argv[0], IdentityFiles(Path(argv[1]))) else 1
    except YggError as e:
        sys.stderr.write(f"{e.message}\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
