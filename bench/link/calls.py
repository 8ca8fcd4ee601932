"""call_p50_vs_*: sequential calls to one device, alternating between the bridge and each peer."""

from __future__ import annotations

from bench.harness.agents import Agents, agents
from bench.harness.compare import alternate, compared
from bench.harness.machine import pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.link import peers
from bench.link.caller import Pipeline, RawStream, count_one
from bench.link.relay import ECHO, RELAY
from services.chassis import channel

_WARM_UP = 100
_PREFIX = "call"


async def measure(mesh: Mesh) -> list[Metric]:
    """Measure the three comparisons."""
    pki = mesh.pki
    with (
        agents(mesh, _PREFIX, 2) as fleet,
        peers.broker(pki) as broker,
        peers.relay(pki) as (_, grpc_port, link_port),
    ):
        device, other = fleet.ids
        message = count_one(1, device).SerializeToString()
        echo_device = peers.bench_peer(pki, "echo", link_port, other)
        responder = peers.bench_peer(pki, "responder", broker.port, other)
        responder.line()
        try:
            async with (
                mesh.channel("jotunheim_bridge") as ours,
                channel.connect(f"127.0.0.1:{grpc_port}", pki.files("user", "bench"), "jotunheim_bridge") as theirs,
            ):
                streams = Pipeline(ours), RawStream(theirs, RELAY), RawStream(theirs, ECHO)
                figures = await _rounds(streams, device, message, broker, other)
                for stream in streams:
                    stream.close()
        finally:
            echo_device.stop()
            responder.stop()
        _check_board(fleet, device)
    return _metrics(figures)


def _count() -> int:
    return pick(500, 2000)


async def _rounds(
    streams: tuple[Pipeline, RawStream, RawStream], device: str, message: bytes, broker: peers.Broker, other: str
) -> list[list[float]]:
    pipeline, relay, echo = streams
    await pipeline.timed(device, _WARM_UP)
    await relay.timed(message, _WARM_UP)
    await echo.timed(message, _WARM_UP)

    async def mqtt() -> float:
        options = {"to": other, "messages": _count(), "payload": len(message)}
        caller = peers.bench_peer(broker.pki, "caller", broker.port, device, **options)
        return float(peers.one_result(caller)["p50_ms"])

    return await alternate(
        rounds(),
        lambda: pipeline.timed(device, _count()),
        lambda: relay.timed(message, _count()),
        lambda: echo.timed(message, _count()),
        mqtt,
    )


def _check_board(fleet: Agents, device: str) -> None:
    done, expected = int(fleet.ask(f"get {device} cnt0.count")[0]), _WARM_UP + rounds() * _count()
    if done != expected:
        raise BenchError(f"the board counted {done} calls, {expected} had a response")


def _metrics(figures: list[list[float]]) -> list[Metric]:
    ours, *others = figures
    total = _count() * rounds()
    facts: list[tuple[str, str, float | None, str]] = [
        ("call_p50_vs_relay", "bare relay", 1.5, ""),
        ("call_p50_vs_grpc_echo", "grpc.aio stream echo", None, "the echo has no device: one hop instead of two"),
        (
            "call_p50_vs_mqtt_rpc",
            "request and answer through Mosquitto TLS",
            None,
            "the broker, its caller and its responder are C; ours is called from Python over gRPC",
        ),
    ]
    return [
        compared(key, ours, peer, peer_name=name, unit="ms", better="lower", target=target, n=total, note=note)
        for (key, name, target, note), peer in zip(facts, others, strict=True)
    ]
