"""The demo: run a private mesh on free ports with two devices end to end.

Checks every result on the devices' simulated boards and writes the measurements. Leaves nothing behind unless asked to
keep the mesh running.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.domain.errors import YggError
from ygg.client import Mesh
from ygg.demo import steps
from ygg.demo.board import Board
from ygg.demo.figures import Figure, write
from ygg.demo.paths import CONTEXT, DEVICES, DemoPaths
from ygg.demo.process import await_ready, running
from ygg.demo.steps import Negotiated
from ygg.doctor import examine
from ygg.exits import CliError, Exit
from ygg.mesh import plan
from ygg.mesh.layout import Layout
from ygg.mesh.ports import Ports
from ygg.mesh.runstate import RunDir
from ygg.output import Output, safe
from ygg.pki.store import utc_now

NAMES = "registry · bridge · loki · ota · nats"


@dataclass(frozen=True, slots=True)
class Options:
    """The posix agent, the directory of blink.lua and alarm.scm, the output file, and whether to keep the mesh."""

    agent: Path = Path("build/firmware/posix/ygg-agent")
    examples: Path = Path("examples")
    figures: Path = Path("build/demo.json")
    keep: bool = False


def run(out: Output, options: Options) -> Exit:
    """Run the demo; return FAILED if any check fails."""
    paths = DemoPaths(Path(tempfile.mkdtemp(prefix="ygg-demo-")))
    try:
        _check_prerequisites(out, options.agent)
        with running(paths, options.agent, keep=options.keep) as runner:
            ready_s, ports = await_ready(paths, runner)
            _demonstrate(out, paths, options, ready_s, ports)
            if options.keep:
                _show_kept(out)
            else:
                out.line(f"  Now try:  make demo KEEP=1   then   {_program()} device ls")
    except (CliError, YggError) as e:
        _show_failure(out, e, paths, options.figures.parent / "demo-logs")
        return Exit.FAILED
    finally:
        if not RunDir(paths.layout.run).running():
            shutil.rmtree(paths.root, ignore_errors=True)
    return Exit.OK


def _check_prerequisites(out: Output, agent: Path) -> None:
    if not os.access(agent, os.X_OK):
        raise CliError(f"agent not found: {agent}", hint="Build it:  make -C firmware")
    found = {finding.text: finding for finding in examine(Layout(Path(os.devnull)), utc_now())}
    missing = [finding for finding in found.values() if not finding.ok and finding.need == "must"]
    if missing:
        raise CliError(missing[0].text, hint=missing[0].fix)
    guile = next((text for text in found if "guile" in text.lower()), "")
    mark = "✓" if found[guile].ok else "✗"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    size = agent.stat().st_size // 1000
    out.line(f"  python {version} ✓   cc ✓   {guile} {mark}   agent built (posix, {size} kB)")


def _demonstrate(out: Output, paths: DemoPaths, options: Options, ready_s: float, ports: Ports) -> None:
    first, second = DEVICES
    context = plan.context(paths.layout, ports)
    out.line(f"  mesh ready in {ready_s:.1f} s   {NAMES}")
    with Mesh(CONTEXT, context) as mesh:
        devices = steps.negotiated(mesh)
        for one in devices:
            steps.check_contract(one)
            out.line(f"  {one.device}  {_negotiation(one)}")
        lua = steps.run_script(mesh, options.examples / "blink.lua", "lua", first, "on → off → on")
        out.line(f"  lua      examples/blink.lua      on {first}   {lua.milliseconds:.0f} ms   {lua.value}")
        steps.check_led(context, paths, first, on=True)
        scheme = steps.run_script(mesh, options.examples / "alarm.scm", "scheme", second, "no alarm")
        out.line(f"  scheme   examples/alarm.scm      on {second}   {scheme.milliseconds:.0f} ms   {scheme.value}")
        steps.check_led(context, paths, second, on=False)
        Board(paths.control(second)).set(second, "temp0.celsius", "80")
        hot = steps.run_script(mesh, options.examples / "alarm.scm", "scheme", second, "alarm, led0 on")
        out.line(f"           board heated to 80 °C            {hot.milliseconds:.0f} ms   {hot.value}")
        steps.check_led(context, paths, second, on=True)
        took = steps.calls(mesh, Board(paths.control(first)), first)
        out.line(f"  call     cnt0.add ×{len(took)}            on {first}   {steps.median(took):.1f} ms each (median)")
    out.line(f"  check    led0 of {first} and {second}, read from the boards and by a second client: on")
    negotiation = [one.milliseconds for one in devices]
    write(
        options.figures,
        [
            Figure("mesh_ready_s", ready_s, "s", 5),
            Figure("negotiate_ms", max(negotiation), "ms", 200, len(negotiation), _spread(negotiation)),
            Figure("call_ms", steps.median(took), "ms", 100, len(took), _spread(took)),
            Figure("lua_ms", lua.milliseconds, "ms", 1000),
            Figure("scheme_ms", scheme.milliseconds, "ms", 2000),
        ],
    )


def _negotiation(one: Negotiated) -> str:
    count = len(one.contract.capabilities)
    refused = "; ".join(safe(f"{r.type}@{r.version}, {r.message}", 120) for r in one.contract.refused)
    return f"negotiated {count} capabilities in {one.milliseconds:.0f} ms   (refused: {refused})"


def _spread(figures: list[float]) -> tuple[float, float]:
    return min(figures), max(figures)


def _show_kept(out: Output) -> None:
    out.line(f"  The mesh keeps running in the background; {CONTEXT} is now the current context:")
    ygg = _program()
    out.line(f"    {ygg} status      {ygg} device ls      {ygg} device call porch-1 led0.blink times=3 period_ms=200")
    out.line(f"  Stop it and delete its data:   {ygg} down")


def _program() -> str:
    """Return the path to call `ygg`: the virtual environment of a checkout may not be on PATH."""
    beside = Path(sys.executable).parent / "ygg"
    try:
        return str(beside.relative_to(Path.cwd())) if beside.exists() else "ygg"
    except ValueError:
        return "ygg"


def _show_failure(out: Output, error: CliError | YggError, paths: DemoPaths, logs: Path) -> None:
    """Show the error and keep a copy of the logs."""
    out.remark(f"  ✗ {safe(error.message, 2000)}", "bold red")
    if error.hint:
        out.remark(f"    {safe(error.hint, 500)}")
    if paths.layout.logs.exists():
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(paths.layout.logs, logs)
        out.remark(f"    Logs: {logs}")
