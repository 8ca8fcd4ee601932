"""`ygg program`: long-running programs on the mesh."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg import values
from ygg.cli import following, program_dev, program_store
from ygg.cli.state import State, state
from ygg.exits import UsageError
from ygg.output import counted, safe

if TYPE_CHECKING:
    from ygg.client import Mesh

app = typer.Typer(help="Deploy and operate long-running programs.", no_args_is_help=True)
LONG_S = 60.0

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .lua or .scm file; its leading comments are the manifest.")
]
Deployment = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="Deployment id; the program id unless --as was used.")
]
OnDevice = Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Instance on this device.")]


def _stub(mesh: Mesh) -> Any:
    from yggdrasil.loki.v1 import program_pb2_grpc

    return program_pb2_grpc.ProgramServiceStub(mesh.channel("loki"))


def _call(st: State, method: str, request: Any, timeout_s: float = LONG_S) -> Any:
    with st.mesh() as mesh:
        return mesh.call("loki", getattr(_stub(mesh), method), request, timeout_s=timeout_s)


def _ref(deployment: str, device: str) -> Any:
    from yggdrasil.loki.v1 import program_pb2 as pb

    return pb.InstanceRef(deployment_id=deployment, device_id=device)


def _load(st: State, file: Path, program_id: str, version: str, lang: str, *, check: bool = False) -> Any:
    from ygg import program_files
    from yggdrasil.loki.v1 import program_pb2 as pb

    package = program_files.package(file, lang=lang, program_id=program_id, version=version)
    return _call(st, "LoadProgram", pb.LoadProgramRequest(package=package, validate_only=check))


@app.command()
def load(
    ctx: typer.Context,
    file: File,
    *,
    program_id: Annotated[
        str, typer.Option("--id", metavar="PROGRAM", help="Program id; default: from the file name.")
    ] = "",
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="Version; default: from the manifest.")
    ] = "",
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Validate only; store nothing.")] = False,
) -> None:
    """Validate a program and store it as a new version, without running it.

    Example:
    - `ygg program load thermostat.lua`
    """
    from ygg.cli import program_show

    st = state(ctx)
    answer = _load(st, file, program_id, version, lang, check=check)
    if st.out.as_json:
        st.out.json({"created": answer.created, "manifest": program_show.data(answer.manifest)})
        return
    name = f"{answer.manifest.id} {answer.manifest.version}"
    st.out.line(f"{name} is valid" if check else f"{name} loaded" if answer.created else f"{name} is already loaded")
    if not check:
        st.out.remark(f"Deploy it:  ygg program deploy {answer.manifest.id} -d DEVICE")


@app.command()
def deploy(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PROGRAM|FILE", help="Id of a loaded program, or a file to load.")],
    *,
    device: Annotated[
        str, typer.Option("--device", "-d", metavar="DEVICE", help="Run one instance for this device.")
    ] = "",
    selector: Annotated[
        str,
        typer.Option(
            "-l", "--selector", metavar="SELECTOR", help="Run one instance per matching device, such as zone=hall."
        ),
    ] = "",
    on_mesh: Annotated[bool, typer.Option("--mesh", help="Run one instance without a default device.")] = False,
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Version; default: the newest.")] = "",
    name: Annotated[
        str, typer.Option("--as", metavar="DEPLOYMENT", help="Deployment id; default: the program id.")
    ] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Argument of the program; repeatable."),
    ] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Deploy without starting.")] = False,
) -> None:
    """Deploy a program to a device, to all matching devices, or to the mesh.

    Examples:
    - `ygg program deploy blink.lua -d porch-1`
    - `ygg program deploy monitor -l zone=hall -a limit=25`
    """
    from ygg import program_files
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    if sum(map(bool, (device, selector, on_mesh))) != 1:
        raise UsageError(
            "more than one target given; pass only one of --device ID, -l SELECTOR, --mesh"
            if device or selector or on_mesh
            else "no target given; pass --device ID, -l SELECTOR or --mesh"
        )
    st = state(ctx)
    words = values.assignments(arg or ())
    manifest = pb.ProgramManifest(id=what, version=version)
    if Path(what).suffix and Path(what).exists():
        manifest = _load(st, Path(what), "", version, "").manifest
    elif words:
        manifest = _call(st, "GetProgram", pb.GetProgramRequest(id=what, version=version)).package.manifest
    given = program_files.arguments(manifest, words)
    target = pb.ProgramTarget(mesh=True) if on_mesh else None
    target = target or (pb.ProgramTarget(device_id=device) if device else pb.ProgramTarget(selector=selector))
    request = pb.DeployProgramRequest(
        program_id=manifest.id,
        version=manifest.version,
        target=target,
        deployment_id=name,
        arguments=given,
        stopped=stopped,
    )
    answer = _call(st, "DeployProgram", request)
    if st.out.as_json:
        st.out.json(program_show.data(answer))
        return
    made = answer.deployment
    on = counted(len(answer.device_ids), "device") if selector else device or "the mesh"
    st.out.line(f"{made.id}: {made.program_id} {made.version} on {on}{' (stopped)' if stopped else ''}")
    for skipped in answer.skipped:
        why = "; ".join(clause.message for clause in skipped.failed)
        st.out.line(f"  skipped {safe(skipped.device_id)}: {safe(why, 300)}", "yellow")
    st.out.remark(f"Follow its log:  ygg program logs -f {made.id}")


@app.command("ls")
def list_programs(ctx: typer.Context) -> None:
    """List programs with their versions and deployments.

    Example:
    - `ygg program ls`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    found = _call(st, "ListPrograms", pb.ListProgramsRequest()).programs
    if st.out.as_json:
        st.out.json([program_show.data(each) for each in found])
        return
    if not found:
        st.out.line("no programs found")
        st.out.remark("Deploy one:  ygg program deploy examples/programs/blink.lua -d DEVICE")
        return
    rows: list[tuple[str, ...]] = []
    for each in found:
        versions = ", ".join(manifest.version for manifest in each.versions[:5])
        for made in each.deployments or [None]:
            target = program_show.target_of(made) if made else "-"
            desired = ("running" if made.running else "stopped") if made else "-"
            current = made.version if made else "-"
            if made and made.canary.version:
                current += f" ({made.canary.version} on {made.canary.share_percent} %)"
            rows.append((safe(each.id), safe(versions), safe(made.id) if made else "-", current, safe(target), desired))
    columns = ("PROGRAM", "VERSIONS", "DEPLOYMENT", "CURRENT", "TARGET", "DESIRED")
    st.out.table(columns, rows, optional=("VERSIONS", "DESIRED"))


@app.command()
def show(
    ctx: typer.Context,
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="Program id.")],
    *,
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Version; default: the newest.")] = "",
    source: Annotated[bool, typer.Option("--source", help="Also print the source.")] = False,
) -> None:
    """Show the manifest, deployments and instances of a program.

    Example:
    - `ygg program show blink`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    found = _call(st, "GetProgram", pb.GetProgramRequest(id=program, version=version))
    if st.out.as_json:
        st.out.json(program_show.data(found))
        return
    manifest = found.package.manifest
    st.out.prose(f"{safe(manifest.id)} {manifest.version}  {safe(manifest.name)}", style="bold")
    if manifest.description:
        st.out.prose(safe(manifest.description, 1000))
    for parameter in manifest.parameters:
        default = f" = {program_show.text(parameter.default_value)}" if parameter.HasField("default_value") else ""
        st.out.prose(f"  parameter {parameter.name}{default}  {safe(parameter.description)}")
    for requirement in manifest.requires:
        st.out.prose(f"  requires {safe(requirement)}")
    for dependency in manifest.dependencies:
        st.out.prose(f"  depends on {safe(dependency.id)} {safe(dependency.minimum_version)}".rstrip())
    for made in found.program.deployments:
        if linked := program_show.linked(made):
            st.out.prose(f"  {safe(made.id)} is linked with {linked}")
        if made.rollout_note:
            st.out.prose(f"  {safe(made.id)}: {safe(made.rollout_note, 600)}", style="yellow")
    program_show.instances(st, found.instances)
    if source:
        st.out.line(found.package.source)


def _change(ctx: typer.Context, method: str, deployment: str, outcome: str) -> None:
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    request = getattr(pb, f"{method}Request")(deployment_id=deployment)
    program_show.deployment(st, _call(st, method, request).deployment, f"{deployment} {outcome}")


@app.command()
def start(ctx: typer.Context, deployment: Deployment) -> None:
    """Start a deployment; failed instances are restarted.

    Example:
    - `ygg program start blink`
    """
    _change(ctx, "StartProgram", deployment, "starting")


@app.command()
def stop(ctx: typer.Context, deployment: Deployment) -> None:
    """Stop a deployment and keep its stores.

    Example:
    - `ygg program stop blink`
    """
    _change(ctx, "StopProgram", deployment, "stopping")


@app.command()
def restart(ctx: typer.Context, deployment: Deployment) -> None:
    """Restart every instance of a deployment.

    Example:
    - `ygg program restart blink`
    """
    _change(ctx, "RestartProgram", deployment, "restarting")


@app.command()
def unload(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT|PROGRAM", help="Deployment id, or with --program a program id.")
    ],
    *,
    program: Annotated[bool, typer.Option("--program", help="Delete the program instead of a deployment.")] = False,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="With --program: delete only this version.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="With --program: also delete its deployments.")] = False,
) -> None:
    """Delete a deployment and its stores, or a program.

    Examples:
    - `ygg program unload blink`
    - `ygg program unload --program blink --force`
    """
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    if program:
        request = pb.UnloadProgramRequest(program_id=name, version=version, end_deployments=force)
    else:
        request = pb.UnloadProgramRequest(deployment_id=name)
    answer = _call(st, "UnloadProgram", request)
    if st.out.as_json:
        st.out.json({"deployments": list(answer.deployment_ids)})
        return
    st.out.line(f"program {name} deleted" if program else f"deployment {name} deleted")


@app.command()
def logs(
    ctx: typer.Context,
    deployment: Deployment,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new lines until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, max=500, help="Number of past lines.")] = 50,
    device: OnDevice = "",
) -> None:
    """Show the log of a deployment.

    Example:
    - `ygg program logs -f blink`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    request = pb.WatchLogsRequest(deployment_id=deployment, device_id=device, tail=tail, follow=follow)
    with st.mesh() as mesh:
        lines = _stub(mesh).WatchLogs(request)
        if follow and following.started(lines):
            of = f"{deployment} on {device}" if device else deployment
            following.notice(st, f"Following the log of {of}. Press Ctrl-C to stop.")
        for line in mesh.stream("loki", lines):
            program_show.line(st, line)


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    deployment: Deployment,
    text: Annotated[
        str, typer.Argument(metavar="CODE", help="Code in the program's language; - reads standard input.")
    ],
    *,
    device: OnDevice = "",
) -> None:
    """Evaluate code in a running instance.

    Example:
    - `ygg program eval thermostat 'target + 1' -d porch-1`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    source = sys.stdin.read() if text == "-" else text
    answer = _call(st, "EvalProgram", pb.EvalProgramRequest(instance=_ref(deployment, device), source=source))
    st.out.json(program_show.value(answer.value) if answer.HasField("value") else None)


@app.command("globals")
def global_values(
    ctx: typer.Context,
    deployment: Deployment,
    assign: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME[=VALUE]", help="Globals to show or set; default: show all."),
    ] = None,
    *,
    device: OnDevice = "",
) -> None:
    """Show or set globals of a running instance.

    Examples:
    - `ygg program globals thermostat`
    - `ygg program globals thermostat target=22`
    """
    from services.chassis import codec
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st, ref, words = state(ctx), _ref(deployment, device), assign or []
    for name, text in values.assignments([word for word in words if "=" in word]).items():
        request = pb.SetGlobalRequest(instance=ref, name=name, value=codec.value_to_proto(values.guess(text)))
        _call(st, "SetGlobal", request)
    names = [word.partition("=")[0] for word in words]
    found = _call(st, "GetGlobals", pb.GetGlobalsRequest(instance=ref, names=names)).globals
    if st.out.as_json:
        st.out.json({each.name: program_show.value(each.value) if each.HasField("value") else None for each in found})
        return
    rows = [
        (safe(each.name), safe(each.type), program_show.text(each.value) if each.HasField("value") else "-")
        for each in found
    ]
    st.out.table(("GLOBAL", "TYPE", "VALUE"), rows)


@app.command()
def stats(ctx: typer.Context, deployment: Deployment, *, device: OnDevice = "") -> None:
    """Show the resource usage of an instance.

    Example:
    - `ygg program stats blink -d porch-1`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    found = _call(st, "GetStatistics", pb.GetStatisticsRequest(instance=_ref(deployment, device))).statistics
    if st.out.as_json:
        st.out.json(program_show.data(found))
        return
    for field, value in found.ListFields():
        shown = f"{value.ToMilliseconds() / 1000:g} s" if field.message_type else str(value)
        st.out.line(f"{field.name.replace('_', ' '):<16} {shown}")


@app.command()
def history(
    ctx: typer.Context,
    deployment: Deployment,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Maximum turns to show.")] = 20,
    device: OnDevice = "",
) -> None:
    """Show recent turns of an instance, newest first.

    Example:
    - `ygg program history blink -d porch-1`
    """
    from services.chassis import codec
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    st = state(ctx)
    request = pb.ListCallHistoryRequest(instance=_ref(deployment, device), limit=limit)
    found = _call(st, "ListCallHistory", request).calls
    if st.out.as_json:
        st.out.json([program_show.data(each) for each in found])
        return
    rows = [
        (
            codec.moment(each.start_time).strftime("%H:%M:%S"),
            safe(each.cause),
            f"{each.duration.ToMicroseconds() / 1000:.1f} ms",
            str(each.host_calls),
            safe(f"{each.reason}: {each.message}" if each.reason else "ok", 160),
        )
        for each in found
    ]
    st.out.table(("TIME", "CAUSE", "DURATION", "CALLS", "RESULT"), rows, optional=("CALLS", "DURATION"))


@app.command()
def rollout(
    ctx: typer.Context,
    deployment: Deployment,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Canary version; default: the newest.")] = "",
    *,
    share: Annotated[int, typer.Option("--share", min=1, max=100, help="Percentage of instances.")] = 10,
    errors: Annotated[int, typer.Option("--errors", min=1, max=10_000, help="Errors that trigger a rollback.")] = 3,
    promote: Annotated[bool, typer.Option("--promote", help="Run the canary version on all instances.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Roll back to the previous version.")] = False,
) -> None:
    """Run a canary version on a percentage of a deployment's instances.

    The canary is rolled back automatically when it reaches the error threshold.

    Examples:
    - `ygg program rollout blink 1.1.0 --share 20`
    - `ygg program rollout blink --promote`
    """
    from ygg.cli import program_show
    from yggdrasil.loki.v1 import program_pb2 as pb

    if promote and back:
        raise UsageError("--promote and --back cannot be combined")
    st = state(ctx)
    if promote or back:
        finish = pb.FinishRolloutRequest(deployment_id=deployment, promote=promote)
        found = _call(st, "FinishRollout", finish).deployment
        program_show.deployment(st, found, f"{deployment} runs {found.version} on all instances")
        return
    begin = pb.StartRolloutRequest(
        deployment_id=deployment, version=version, share_percent=share, error_threshold=errors
    )
    found = _call(st, "StartRollout", begin).deployment
    canary = f"canary {found.canary.version} on {found.canary.share_percent} % of {deployment}"
    program_show.deployment(st, found, f"{canary}; all others run {found.version}")


app.command()(program_store.status)
app.command()(program_dev.dev)
app.add_typer(program_store.app, name="store")
