"""`xraycls data audit`: what is wrong with a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import DecodersOption, JsonOption, ShardOption, print_shard
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions

if TYPE_CHECKING:
    from xraycls.data.audit import Audit


@reads_data
def audit(
    path: Annotated[
        Path | None, typer.Argument(help="Data of any format; the phantom when omitted.", metavar="[PATH]")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a table's paths start from.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the report; audit-NAME when omitted, none with --json."),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Classes that boxes may have, with commas between.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read headers only.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where there is an error.")] = False,
    threads: DecodersOption = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Look for what spoils results: leaks between splits, shortcuts, wrong boxes, damaged and inverted pictures.

    Writes audit.html with pictures, findings.csv and audit.json, and changes nothing in the data.
    """
    from xraycls.data.audit import as_json as in_plain_values
    from xraycls.data.audit import audit as audit_data
    from xraycls.data.audit import require_outside, write_report
    from xraycls.data.audit.run import shard_audit
    from xraycls.data.files import require_writable
    from xraycls.data.plain import to_plain
    from xraycls.data.shards import Shard
    from xraycls.data.source import read_source
    from xraycls.progress import counting

    table = read_source(path, images=images, options=options)
    given = (path or table.root).resolve()
    folder = output or (None if as_json else Path(f"audit-{given.name if given.is_dir() else given.stem}"))
    if folder:
        require_outside(table, folder)
        require_writable(folder)
    names = [name.strip() for name in classes.split(",") if name.strip()] if classes else None
    if shard:
        part = Shard.parse(shard)
        target = folder or Path(f"audit-{given.name}")
        settings = {
            "source": path and str(path),
            "images": images and str(images.resolve()),
            "options": to_plain(options),
            "quick": quick,
            "classes": names,
        }
        with counting("auditing") as progress:
            done = shard_audit(table, target, part, settings, quick=quick, threads=threads, progress=progress)
        print_shard(done)
        return
    with counting("auditing") as progress:
        made = audit_data(table, quick=quick, classes=names, threads=threads, progress=progress)
    if folder:
        write_report(made, folder)
    if as_json:
        print(json.dumps(in_plain_values(made)))
    else:
        _show(made)
        print(f"Wrote {folder}/audit.html, findings.csv and audit.json.")
    if strict and made.errors:
        raise typer.Exit(1)


def _show(made: Audit) -> None:
    """A line a finding, the gravest first, and how the classes are spread."""
    from rich.markup import escape
    from rich.table import Table

    data = made.table
    for split in data.splits:
        print(f"{split}: {', '.join(f'{count:,} {name}' for name, count in data.split(split).counts().items())}")
    if not made.findings:
        print(f"Nothing found in {len(data):,} pictures.")
        return
    shown = Table("", "finding", "pictures", box=None, pad_edge=False)
    colours = {"error": "red", "warning": "yellow"}
    for finding in made.findings:
        count = f"{len(finding.samples):,}" if finding.samples else ""
        shown.add_row(f"[{colours[finding.severity]}]{finding.severity}", escape(finding.title), count)
    print_table(shown)
