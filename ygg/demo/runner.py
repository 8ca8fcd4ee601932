"""`python -m ygg.demo.runner ROOT AGENT [--keep]`: run the demo's mesh and devices until SIGTERM.

A separate process, so that `make demo KEEP=1` can leave it running. With --keep it registers the context `demo` while
it runs, and at its end removes the context and the directory ROOT.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ygg.contexts import Context, Contexts
from ygg.demo.paths import CONTEXT, DEVICES, POLICY, DemoPaths
from ygg.exits import CliError
from ygg.files import private_dir, write_atomic
from ygg.home import Home
from ygg.mesh import up
from ygg.mesh.bootstrap import SECOND_USER, USER, Bootstrap
from ygg.mesh.child import Spec
from ygg.mesh.plan import Options
from ygg.mesh.ports import LOOPBACK, Ports, free_ports
from ygg.pki.passphrase import CaPassphrase


class LogReporter:
    """Logs restarts of children; the demo reads readiness from mesh.json."""

    def ready(self, seconds: float) -> None:
        """Do nothing: mesh.json has it."""

    def ended(self, name: str, status: int, wait_s: float) -> None:
        """Log the exit of a child."""
        print(f"{name} exited with status {status}; restarting in {wait_s:.1f} s", flush=True)

    def back(self, name: str, seconds: float) -> None:
        """Log that a child is ready again."""
        print(f"{name} is ready again after {seconds:.1f} s", flush=True)


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; return the exit status."""
    paths, agent, keep = DemoPaths(Path(argv[0])), Path(argv[1]), "--keep" in argv[2:]
    parent = os.getppid()
    try:
        asyncio.run(_run(paths, agent, keep=keep))
    except CliError as e:
        print(f"{e.message}\n{e.hint}", file=sys.stderr)
        return 1
    finally:
        if keep:
            Contexts(Home.find()).remove(CONTEXT)
        if keep or os.getppid() != parent:  # the demo process was killed and cannot clean up
            shutil.rmtree(paths.root, ignore_errors=True)
    return 0


async def _run(paths: DemoPaths, agent: Path, *, keep: bool) -> None:
    private_dir(paths.root)
    write_atomic(paths.policy, json.dumps(POLICY).encode())
    ports = free_ports()
    stopping = asyncio.Event()
    up.on_signals(stopping)
    mesh = up.Mesh(
        layout=paths.layout,
        options=Options(ports, public_link=False, policy=paths.policy),
        announce=_announce if keep else lambda _: None,
        passphrase=CaPassphrase(lambda _: None, environ={}),  # generated and discarded: its CAs issue nothing more
        identities=Bootstrap(devices=DEVICES, users=(USER, SECOND_USER)),
        extra=[_agent(paths, agent, device, ports) for device in DEVICES],
    )
    await up.run(mesh, LogReporter(), stopping)


def _announce(context: Context) -> None:
    contexts = Contexts(Home.find())
    contexts.put(CONTEXT, context)
    contexts.use(CONTEXT)


def _agent(paths: DemoPaths, agent: Path, device: str, ports: Ports) -> Spec:
    identity = paths.layout.identity("device", device)
    options = {
        "--id": device,
        "--connect": f"{LOOPBACK}:{ports.link}",
        "--ca": str(identity / "services.pem"),
        "--cert": str(identity / "cert.pem"),
        "--key": str(identity / "key.pem"),
        "--control": str(paths.control(device)),
        "--backoff-max-ms": "500",  # the mesh is starting
    }
    return Spec(
        name=device,
        argv=[str(agent), *(word for option in options.items() for word in option)],
        env={"PATH": os.environ.get("PATH", "")},
        log=paths.layout.logs / f"{device}.log",
        cwd=paths.layout.root,
        stop_s=3.0,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
