"""`xraycls data split`: which images train, which select and which test."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.data.counts import patients_of, print_counts
from xraycls.cli.options import JsonOption
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable

_SHARE = 0.15


@reads_data
def split(
    path: Annotated[Path, typer.Argument(help="Any data source, as for xraycls train --data.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The CSV, split.csv by default; with --folds a folder, folds by default."),
    ] = None,
    val: Annotated[
        float | None, typer.Option("--val", "--val-fraction", help="Share for validation; 0.15 by default.")
    ] = None,
    test: Annotated[
        float | None, typer.Option("--test", "--test-fraction", help="Share for the test; 0.15 by default.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Cross-validation: a CSV for each of so many folds.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other patients.")] = 0,
    redraw: Annotated[bool, typer.Option("--redraw", help="Ignore the splits that the data has.")] = False,
    redraw_val: Annotated[
        bool, typer.Option("--redraw-val", help="Keep the test split that the data has, but draw validation anew.")
    ] = False,
    keep_test: Annotated[
        bool,
        typer.Option(
            "--keep-test", help="Keep the test split that the data has, and leave out other images of its patients."
        ),
    ] = False,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a CSV that holds something else.")] = False,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Give every image a split, by class and by patient, and write it down as a CSV that every --data takes.

    Splits that the data has stay. With --folds, fold i of fold-i.csv is held out: it validates where the data has a
    test split of its own; otherwise it tests, and the next fold validates.
    """
    from xraycls.data.assign import fold_files, fold_tables, split_table, without_test_patients, write_new
    from xraycls.data.source import read_source

    if keep_test and redraw:
        raise UsageError("--keep-test and --redraw don't go together", "Leave out one of them")
    source = read_source(path, images=images, options=options)
    if keep_test:
        source = without_test_patients(source)
    if folds is None:
        file = output or Path("split.csv")
        if file.suffix.lower() != ".csv":
            raise UsageError(f"--output {file} is no CSV", "Its name must end in .csv")
        table = split_table(
            source,
            val_fraction=_SHARE if val is None else val,
            test_fraction=_SHARE if test is None else test,
            redraw=redraw,
            redraw_val=redraw_val,
            seed=seed,
        )
        tables = {file: table}
        parts = {str(name): table.split(name) for name in table.splits}
    else:
        if val is not None or test is not None or redraw_val:
            raise UsageError("--val, --test and --redraw-val don't go with --folds: every fold is an equal share")
        drawn = fold_tables(source, folds, redraw=redraw, seed=seed)
        tables = dict(zip(fold_files(output or Path("folds"), folds), drawn, strict=True))
        parts = _folds_of(drawn[0], folds)
    is_new = write_new(tables, overwrite=overwrite)
    if as_json:
        described = {name: {"classes": part.counts(), "patients": patients_of(part)} for name, part in parts.items()}
        print(json.dumps({"files": [str(file) for file in tables], "is_new": is_new, "parts": described}))
        return
    print_counts(parts)
    first, *others = tables
    named = f"{first} … {others[-1].name}" if others else str(first)
    print(f"Wrote {named}." if is_new else f"{named}: it is all there already.")
    print(f"Next: xraycls train --data {shlex.quote(str(first))}")


def _folds_of(table: SampleTable, folds: int) -> dict[str, SampleTable]:
    """The samples of each fold, and those of the test split that is the same for all."""
    parts = {}
    for number in range(folds):
        fold = ("fold", str(number))
        parts[f"fold {number}"] = table.with_samples(s for s in table if fold in s.attributes)
    rest = table.with_samples(s for s in table if "fold" not in dict(s.attributes))
    return parts | ({"test": rest} if len(rest) else {})
