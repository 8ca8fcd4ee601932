"""The shipped examples and hostile scripts on Loki in its container: read-only, without capabilities, limited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.e2e.containers.mesh import ROOT, ComposeMesh
from tests.fixtures.wait import until
from yggdrasil.loki.v1 import loki_pb2 as pb
from yggdrasil.loki.v1 import loki_pb2_grpc

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

LUA, SCHEME = pb.LANGUAGE_LUA, pb.LANGUAGE_SCHEME


@pytest.fixture
def loki(compose: ComposeMesh) -> Iterator[Any]:
    with compose.channel("loki") as channel:
        yield loki_pb2_grpc.LokiServiceStub(channel)


def request(source: str, language: pb.Language.ValueType, seconds: int = 20) -> pb.ExecuteRequest:
    limits = pb.ExecutionLimits(timeout=Duration(seconds=seconds))
    return pb.ExecuteRequest(source=source, language=language, device_id="porch-2", limits=limits)


@pytest.mark.parametrize(("file", "language"), [("blink.lua", LUA), ("alarm.scm", SCHEME)])
def test_an_example_drives_a_device(loki: Any, file: str, language: pb.Language.ValueType) -> None:
    source = (ROOT / "examples" / file).read_text(encoding="utf-8")
    assert loki.Execute(request(source, language), timeout=60).result.host_calls > 0


@pytest.mark.parametrize(
    ("source", "language"),
    [("while true do end", LUA), ("(let loop () (loop))", SCHEME)],
    ids=["lua", "scheme"],
)
def test_an_endless_loop_ends_in_its_own_call_only(loki: Any, source: str, language: pb.Language.ValueType) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        loki.Execute(request(source, language, seconds=1), timeout=30)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def works() -> bool:
        value = {LUA: "return 6 * 7", SCHEME: "(* 6 7)"}[language]
        return bool(loki.Execute(request(value, language), timeout=30).result.value.int == 42)

    until(works, 10, "the next script runs")
