"""`xraycls data …`: one file a verb."""

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand
from xraycls.cli.data import (
    arrange,
    audit,
    convert,
    download,
    merge,
    phantom,
    prepare,
    rsna_features,
    show,
    siim2kitti,
    split,
)
from xraycls.cli.data import list as list_verb

app = typer.Typer(help="Get data, look at it, check it and convert it.", no_args_is_help=True)
app.command("phantom")(phantom.phantom)
app.command("download")(download.download)
app.command("list")(list_verb.list_samples)
app.command("prepare")(prepare.prepare)
app.command("show")(show.show)
app.command("split")(split.split)
app.command("convert")(convert.convert)
app.command("siim2kitti", cls=AbbreviatedCommand)(siim2kitti.siim2kitti)
app.command("rsna-features")(rsna_features.rsna_features)
app.command("arrange")(arrange.arrange)
app.command("audit")(audit.audit)
app.command("merge")(merge.merge)
