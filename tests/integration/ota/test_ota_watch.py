"""`ygg ota rollout watch` refuses an unknown rollout and names the rollout that it follows."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.fakes.ota_keys import image_of
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT
from tests.fixtures.updates import Updates
from tests.integration.ota.test_ota_updates import fleet, known, old
from ygg.exits import Exit
from yggdrasil.ota.v1 import rollout_pb2 as pb

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def ygg(updates: Updates, pki: Pki, tmp_path: Path) -> Start:
    paths = {"YGG_HOME": str(tmp_path / "home"), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}

    async def start(*words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "ygg", *words]
        return await asyncio.create_subprocess_exec(*command, env={**os.environ, **paths}, stdout=pipe, stderr=pipe)

    identity = str(pki.directory("user", "operator"))
    for words in (("set", "test", "--identity", identity, "--ota", updates.ota[0].listen), ("use", "test")):
        assert await (await start("context", *words)).wait() == Exit.OK
    return start


async def test_watch_of_an_unknown_rollout_is_refused(ygg: Start) -> None:
    watching = await ygg("ota", "rollout", "watch", "r-000000")
    out, err = await asyncio.wait_for(watching.communicate(), 60)
    assert (watching.returncode, out) == (Exit.NOT_FOUND, b"")
    assert b"r-000000" in err
    assert b"Following" not in err


async def test_watch_of_a_rollout_names_the_rollout(ygg: Start, updates: Updates) -> None:
    release = await updates.release(image_of("watched", 9000), 2)
    async with fleet(updates, [updates.flash(old())]):
        await known(updates, release, 1)
        rollout = await updates.start(release, waves=[pb.Wave(percent=100)])
        watching = await ygg("ota", "rollout", "watch", rollout.id)
        assert watching.stderr is not None
        said = await asyncio.wait_for(watching.stderr.readline(), 60)
        assert said.decode().startswith(f"Watching {rollout.id} until it ends.")
        out, _ = await asyncio.wait_for(watching.communicate(), 60)
    assert watching.returncode == Exit.OK
    assert rollout.id in out.decode().splitlines()[-1]
