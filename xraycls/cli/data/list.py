"""`xraycls data list`: what a data source holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.data.counts import patients_of
from xraycls.cli.options import JsonOption
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable


@reads_data
def list_samples(
    path: Annotated[
        Path | None, typer.Argument(help="Image folder, CSV, .npz or prepared data; the phantom when omitted.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Show what a data source holds, a split and class a line."""
    from xraycls.data.findings import counts_of_findings
    from xraycls.data.source import read_table

    table = read_table(path, images=images, options=options)
    parts: dict[str, SampleTable] = {name: table.split(name) for name in table.splits}
    parts = parts or {"all": table}
    if as_json:
        counted: dict[str, dict[str, object]] = {
            name: {"images": part.counts(), "patients": patients_of(part)} for name, part in parts.items()
        }
        about: dict[str, object] = {"root": str(table.root), "source": table.source, "classes": table.classes}
        if table.findings:
            about["findings"] = table.findings
            for name, part in parts.items():
                counted[name]["findings"] = {f: asdict(count) for f, count in counts_of_findings(part).items()}
        print(json.dumps(about | {"parts": counted}))
        return
    for name, part in parts.items():
        counts = ", ".join(f"{count} {label}" for label, count in part.counts().items())
        patients = patients_of(part)
        print(f"{name}: {counts}" + (f" ({patients} patients)" if patients else ""))
        for finding, count in counts_of_findings(part).items():
            told = ", ".join(f"{number} {how}" for how, number in asdict(count).items() if number)
            print(f"  {finding}: {told}")
