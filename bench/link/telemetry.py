"""`python -m bench.link.telemetry PKI LINK PREFIX DEVICES RATE SECONDS`: devices with telemetry at a constant rate.

Speaks Einherjar in Python with tests/fakes/device.py, within the granted credit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from services.chassis.identity import IdentityFiles
from tests.fakes.device import LinkDevice, document, number
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link


def _document() -> bytes:
    schema = number(cp.VALUE_TYPE_DOUBLE, -40, 125, "Cel")
    celsius = cp.Property(name="celsius", schema=schema, readable=True, observable=True)
    return document(cp.Capability(id="temp0", type="sensor.temperature", version=2, properties=[celsius]))


class Source:
    """One device and its remaining credit."""

    def __init__(self, device: LinkDevice) -> None:
        self._device, self._credit, self.sent, self.skipped = device, 64, 0, 0

    async def read(self) -> None:
        """Process credit grants until the link ends."""
        while True:
            frame = await self._device.receive(within_s=3600)
            if frame.WhichOneof("body") == "credit":
                self._credit += frame.credit.telemetry

    def send(self) -> None:
        """Send one frame with one sample; skip it without credit."""
        if not self._credit:
            self.skipped += 1
            return
        self._credit -= 1
        self.sent += 1
        sample = link.Sample(capability=0, property=0, value=link.LinkValue(number=20 + self.sent % 50))
        self._device.send(telemetry=link.Telemetry(samples=[sample]))


async def main(pki: Path, endpoint: str, prefix: str, devices: int, rate: float, seconds: float) -> None:
    """Print a line at the start, and the number of sent frames at the end."""
    sources = []
    for index in range(1, devices + 1):
        name = f"{prefix}-{index}"
        device = await LinkDevice.connect(endpoint, IdentityFiles(pki / "device" / name), name)
        await device.negotiate(_document())
        sources.append(Source(device))
    reading = [asyncio.create_task(source.read()) for source in sources]
    print(json.dumps({"ready": True}), flush=True)
    start, total = time.monotonic(), int(rate * seconds)
    for turn in range(total):
        wait = start + turn / rate - time.monotonic()
        if wait > 0.001:
            await asyncio.sleep(wait)
        elif turn % 100 == 0:
            await asyncio.sleep(0)
        sources[turn % devices].send()
    took = time.monotonic() - start
    await asyncio.sleep(0.5)
    for task in reading:
        task.cancel()
    sent, skipped = sum(source.sent for source in sources), sum(source.skipped for source in sources)
    print(json.dumps({"sent": sent, "skipped": skipped, "seconds": took}), flush=True)


if __name__ == "__main__":
    _, _pki, _endpoint, _prefix, _devices, _rate, _seconds = sys.argv
    uvloop.run(main(Path(_pki), _endpoint, _prefix, int(_devices), float(_rate), float(_seconds)))
