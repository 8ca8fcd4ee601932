"""Golden vectors: the Python codec reads and writes protos/vectors/*.txtpb byte for byte like protoc.

firmware/tests/vectors.c checks the C codec against the same vectors.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from services.chassis import codec
from services.domain import capability as rules
from services.jotunheim_bridge.model import framing
from yggdrasil.common.v1 import capability_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.device.v1 import ota_pb2 as ota

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
AGENT = ROOT / "build" / "firmware" / "posix" / "ygg-agent"
MESSAGES: dict[str, type[Message]] = {
    "yggdrasil.device.v1.Frame": link.Frame,
    "yggdrasil.common.v1.CapabilityDocument": capability_pb2.CapabilityDocument,
    **{
        f"yggdrasil.device.v1.{m.DESCRIPTOR.name}": m
        for m in (ota.Envelope, ota.Root, ota.ReleaseManifest, ota.Timestamp)
    },
}
VECTORS = sorted((PROTOS / "vectors").glob("*.txtpb"))
FRAMES = [path for path in VECTORS if path.name.startswith("frame_")]
DOCUMENTS = [path for path in VECTORS if not path.name.startswith(("frame_", "signed_"))]


def header(path: Path, key: str) -> str:
    """Return the value of `# key: value` in a vector's header."""
    return next(line.split(": ", 1)[1] for line in path.read_text().splitlines() if line.startswith(f"# {key}: "))


@cache
def encoded(path: Path) -> bytes:
    """Return the vector's bytes, encoded by protoc and not by the code under test."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--encode={header(path, 'proto-message')}"]
    return subprocess.run(
        [*command, str(PROTOS / header(path, "proto-file"))], input=path.read_bytes(), capture_output=True, check=True
    ).stdout


def parsed(path: Path) -> Message:
    """Return the vector's message, parsed from its text."""
    return text_format.Parse(path.read_text(), MESSAGES[header(path, "proto-message")]())


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", VECTORS, ids=stem)
def test_codec_matches_protoc(path: Path) -> None:
    golden, message = encoded(path), parsed(path)
    assert golden
    assert message.SerializeToString(deterministic=True) == golden
    assert type(message).FromString(golden) == message


@pytest.mark.parametrize("path", FRAMES, ids=stem)
def test_framing_round_trips_at_every_split(path: Path) -> None:
    golden = encoded(path)
    sent = framing.encode(link.Frame.FromString(golden))
    assert sent.endswith(golden)
    assert len(sent) - len(golden) == (1 if len(golden) < 128 else 2)
    for split in range(len(sent) + 1):
        decoder = framing.FrameDecoder(framing.MAX_FRAME_BYTES)
        found = [*decoder.feed(sent[:split]), *decoder.feed(sent[split:])]
        assert [frame.SerializeToString() for frame in found] == [golden]


@pytest.mark.parametrize("body", [f.name for f in link.Frame.DESCRIPTOR.fields], ids=str)
def test_every_frame_body_has_a_vector(body: str) -> None:
    covered = {link.Frame.FromString(encoded(path)).WhichOneof("body") for path in FRAMES}
    assert body in covered


@pytest.mark.parametrize("path", DOCUMENTS, ids=stem)
def test_document_vector_obeys_capability_rules(path: Path) -> None:
    for capability in capability_pb2.CapabilityDocument.FromString(encoded(path)).capabilities:
        rules.check(codec.capability_from_proto(capability))


@pytest.mark.skipif(not AGENT.exists(), reason="build the agent first: make -C firmware")
def test_agent_offers_simulated_board_of_vector() -> None:
    written = subprocess.run([AGENT, "--print-capabilities"], capture_output=True, check=True).stdout
    assert written == encoded(PROTOS / "vectors" / "sim_board.txtpb")
