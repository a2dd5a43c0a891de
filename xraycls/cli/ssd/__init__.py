"""`xraycls ssd …`: SSD and DSSD from TLT/TAO specs; one file a verb."""

import typer

from xraycls.cli.dataset_convert import dataset_convert
from xraycls.cli.spec_check import add_spec_check
from xraycls.cli.ssd import evaluate, inference, prune, train
from xraycls.cli.tao_command import TaoCommand

app = typer.Typer(help="SSD and DSSD from TLT/TAO specs, with the flags of TAO.", no_args_is_help=True)
app.command("train", cls=TaoCommand)(train.train)
app.command("evaluate", cls=TaoCommand)(evaluate.evaluate)
app.command("inference", cls=TaoCommand)(inference.inference)
app.command("prune", cls=TaoCommand)(prune.prune)
add_spec_check(app, "ssd")
app.command("dataset_convert", cls=TaoCommand, hidden=True)(dataset_convert)
app.command("dataset-convert", cls=TaoCommand, hidden=True)(dataset_convert)
