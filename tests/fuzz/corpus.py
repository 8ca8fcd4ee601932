"""The corpus: inputs in a folder per target under tests/fuzz/corpus/, named by their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.jotunheim_bridge.model.framing import encode
from tests.fakes.device import document, led
from tests.fuzz.world import offered_document, pages, valid_hello
from yggdrasil.device.v1 import link_pb2 as link

ROOT = Path(__file__).parent / "corpus"


def load(target: str) -> list[bytes]:
    """Return the seeds and the stored inputs of a target."""
    return [*_seeds(target), *(path.read_bytes() for path in sorted((ROOT / target).glob("*")))]


def keep(target: str, data: bytes) -> Path:
    """Write an input and return its path. Idempotent."""
    path = ROOT / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _seeds(target: str) -> list[bytes]:
    if target == "hello":
        return [valid_hello().SerializeToString()]
    if target == "document":
        return [offered_document(), document(), document(*(led(f"led{n}") for n in range(9)))]
    value = link.Argument(index=0, value=link.LinkValue(integer=1))
    sample = link.Sample(capability=1, value=link.LinkValue(integer=3))
    update = link.CapabilityUpdate(capabilities_digest=valid_hello(version=2).capabilities_digest)
    update.capabilities_size_bytes = len(offered_document(2))
    valid = [
        link.Frame(hello=valid_hello()),
        link.Frame(event=link.Event(sequence=1, fields=[value])),
        link.Frame(event=link.Event(sequence=2, capability=2)),
        link.Frame(telemetry=link.Telemetry(samples=[sample])),
        link.Frame(result=link.Result(call_id="c", status=link.RESULT_STATUS_OK, values=[value])),
        link.Frame(ping=link.Ping(token=1)),
        link.Frame(pong=link.Pong(token=1)),
        link.Frame(goodbye=link.Goodbye(code=link.GOODBYE_CODE_SHUTDOWN)),
    ]
    renewed = b"".join(
        encode(frame) for frame in (link.Frame(capability_update=update), *pages(offered_document(2), 992))
    )
    return [*(encode(frame) for frame in valid), b"".join(encode(frame) for frame in valid[1:7]), renewed]
