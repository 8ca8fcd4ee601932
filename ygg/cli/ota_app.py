"""The command groups of `ygg ota`; the other modules register their commands on them."""

import typer

UINT32_MAX = 2**32 - 1
MAX_DAYS = 36_500
"""Maximum validity of signed metadata, in days."""

app = typer.Typer(help="Update firmware: sign images, release them, roll them out.", no_args_is_help=True)
root_app = typer.Typer(help="Manage the root of trust: the keys of each role.", no_args_is_help=True)
rollout_app = typer.Typer(help="Roll out a release to devices in waves.", no_args_is_help=True)
app.add_typer(root_app, name="root")
app.add_typer(rollout_app, name="rollout")
