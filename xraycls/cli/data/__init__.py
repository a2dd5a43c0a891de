"""`xraycls data …`: one file a verb."""

import typer

from xraycls.cli.data import list as list_verb
from xraycls.cli.data import phantom, prepare

app = typer.Typer(help="Get data, look at it, check it and convert it.", no_args_is_help=True)
app.command("phantom")(phantom.phantom)
app.command("list")(list_verb.list_samples)
app.command("prepare")(prepare.prepare)
