"""The nouns of `ygg ota`, for the modules that hang their commands on them."""

import typer

UINT32_MAX = 2**32 - 1
MAX_DAYS = 36_500
"""How long a signature may be valid, in days: a century."""

app = typer.Typer(help="Updates: sign them offline, release them, roll them out.", no_args_is_help=True)
root_app = typer.Typer(help="The root: which keys may sign what.", no_args_is_help=True)
rollout_app = typer.Typer(help="Bring a release to devices, in waves.", no_args_is_help=True)
app.add_typer(root_app, name="root")
app.add_typer(rollout_app, name="rollout")
