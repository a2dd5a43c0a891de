"""`xraycls test`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import (
    BatchOption,
    DaliOption,
    DeviceOption,
    JsonOption,
    LoaderOption,
    PrecisionOption,
    PrevalenceOption,
    RuntimeOption,
    StrictOption,
    ThreadsOption,
    TTAOption,
    chosen_loader,
)
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import unknown
from xraycls.types import SPLITS

if TYPE_CHECKING:
    from xraycls.evaluation.report import Report
    from xraycls.workflows.test import TestResult


@reads_data
def test(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="A run folder, a weights or exported file, or a model's name: its newest run; of several the mean.",
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="Other data; the run's own by default.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; the run folder.")] = None,
    resamples: Annotated[int, typer.Option(min=10, help="Of the bootstrap, for the 95 % intervals.")] = 2000,
    unseen_only: Annotated[
        bool, typer.Option("--unseen-only", help="Leave out images that the run was trained or chosen with.")
    ] = False,
    tta: TTAOption = None,
    subgroups: Annotated[
        str | None,
        typer.Option(help='"sex,age,view,site,scanner", names of columns, or none; those that are there by default.'),
    ] = None,
    prevalence: PrevalenceOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchOption = 64,
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = "auto",
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Test a trained classifier: figures with 95 % intervals, predictions, pictures and a page."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, "--split")
    from xraycls.progress import counting
    from xraycls.workflows.test import test as test_classifier

    with counting("testing") as progress:
        result = test_classifier(
            runs,
            data=data,
            images=images,
            split=split,
            output=output,
            device=device,
            batch_size=batch_size,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            runtime=runtime,
            strict=strict,
            resamples=resamples,
            unseen_only=unseen_only,
            tta=tta,
            subgroups=subgroups,
            prevalence=prevalence,
            options=options,
            progress=progress,
        )
    if as_json:
        groups = {"subgroups": [each.to_dict() for each in result.subgroups]} if result.subgroups else {}
        print(json.dumps(result.report.to_dict() | groups, allow_nan=False))
    else:
        print_test(result)


def print_test(result: TestResult) -> None:
    """Print the figures of a test, what was left out, and the files."""
    from rich.table import Table

    from xraycls.evaluation.findings import FindingsReport
    from xraycls.evaluation.findings_page import few_findings, findings_table
    from xraycls.evaluation.subgroups import subgroup_table
    from xraycls.evaluation.summary import caution, summary_table

    report = result.report
    if isinstance(report, FindingsReport):
        (header, *rows), said = findings_table(report), few_findings(report)
        print(f"{report.n} images, {len(report.classes)} findings, 95 % intervals")
    else:
        (header, *rows), said = summary_table(report), caution(report)
        print(_title(report))
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    print_table(table)
    if said:
        print(f"{said}.")
    if result.subgroups:
        (header, *rows) = subgroup_table(result.subgroups)
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        print_table(table)
    if result.unreadable:
        print(f"{len(result.unreadable)} files could not be read and were left out.")
    for file in result.files:
        print(file)


def _title(report: Report) -> str:
    positive = f", positive class {report.positive_class}" if report.positive_class else ""
    return f"{report.n} images, 95 % intervals{positive}"
