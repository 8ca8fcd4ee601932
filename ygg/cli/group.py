"""`ygg group`: named label selectors."""

from __future__ import annotations

from typing import Annotated

import typer

from services.domain.values import INT_MAX
from ygg.cli.state import state
from ygg.output import safe

app = typer.Typer(help="Manage groups: named label selectors for --group.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Group name, such as upstairs.")]
Revision = Annotated[
    int,
    typer.Option(
        "--revision",
        min=0,
        max=INT_MAX,
        show_default=False,
        metavar="N",
        help="Fail unless the group has this revision.",
    ),
]


@app.command("ls")
def list_groups(ctx: typer.Context) -> None:
    """List groups.

    Example:
    - `ygg group ls`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.ListGroups, registry_pb2.ListGroupsRequest()).groups
    if st.out.as_json:
        keys = ("name", "selector", "description", "revision")
        st.out.json([{key: getattr(one, key) for key in keys} for one in found])
        return
    if not found:
        st.out.line("no groups found")
        st.out.remark("Create one:  ygg group set upstairs 'floor in (1,2)'")
        return
    rows = [(safe(one.name, 63), safe(one.selector, 300), safe(one.description)) for one in found]
    st.out.table(("GROUP", "SELECTOR", "DESCRIPTION"), rows)


@app.command("set")
def set_group(
    ctx: typer.Context,
    name: Name,
    selector: Annotated[str, typer.Argument(metavar="SELECTOR", help="Label selector, as for `ygg device ls -l`.")],
    *,
    description: Annotated[str, typer.Option("--description", "-d", help="Description.")] = "",
    revision: Revision = 0,
) -> None:
    """Create or change a group.

    Example:
    - `ygg group set upstairs 'floor in (1,2),!old' -d 'first and second floor'`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    group = registry_pb2.Group(name=name, selector=selector, description=description, revision=revision)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.SetGroup, registry_pb2.SetGroupRequest(group=group)).group
    if st.out.as_json:
        st.out.json({key: getattr(found, key) for key in ("name", "selector", "description", "revision")})
        return
    st.out.line(f"group {name} saved: {safe(found.selector, 300)}; list its devices:  ygg device ls --group {name}")


@app.command("rm")
def remove_group(ctx: typer.Context, name: Name, *, revision: Revision = 0) -> None:
    """Delete a group, but not its devices.

    Example:
    - `ygg group rm upstairs`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.DeleteGroupRequest(name=name, revision=revision)
        mesh.call("registry", stub.DeleteGroup, request)
    if st.out.as_json:
        st.out.json({"removed": name})
        return
    st.out.line(f"group {name} deleted")
