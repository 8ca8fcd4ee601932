"""`ygg group`: selectors under a name."""

from __future__ import annotations

from typing import Annotated

import typer

from services.domain.values import INT_MAX
from ygg.cli.state import state
from ygg.output import safe

app = typer.Typer(help="Groups: label selectors under a name, to use as --group.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name, such as upstairs.")]
Revision = Annotated[
    int, typer.Option("--revision", min=0, max=INT_MAX, metavar="N", help="Only where it is at this revision.")
]


@app.command("ls")
def list_groups(ctx: typer.Context) -> None:
    """List the groups.

    Example:  `ygg group ls`
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
        st.out.line("no group")
        st.out.remark("Make one:  ygg group set upstairs 'floor in (1,2)'")
        return
    rows = [(safe(one.name, 63), safe(one.selector, 300), safe(one.description)) for one in found]
    st.out.table(("GROUP", "SELECTOR", "DESCRIPTION"), rows)


@app.command("set")
def set_group(
    ctx: typer.Context,
    name: Name,
    selector: Annotated[str, typer.Argument(help="Labels, as of `ygg device ls -l`.")],
    *,
    description: Annotated[str, typer.Option("--description", "-d", help="For people.")] = "",
    revision: Revision = 0,
) -> None:
    """Make a group, or change it.

    Example:  `ygg group set upstairs 'floor in (1,2),!old' -d 'first and second floor'`
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
    st.out.line(f"group {name} is {safe(found.selector, 300)}; its devices:  ygg device ls --group {name}")


@app.command("rm")
def remove_group(ctx: typer.Context, name: Name, *, revision: Revision = 0) -> None:
    """Forget a group; its devices stay.

    Example:  `ygg group rm upstairs`
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
    st.out.line(f"group {name} is forgotten; its devices stay")
