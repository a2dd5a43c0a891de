"""`xraycls data download`: a data set from Kaggle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import JsonOption

_MB = 1_000_000


def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="coronahack, kermany, rsna or siim.")],
    dest: Annotated[Path | None, typer.Option(help="Where it goes; a folder of that name by default.")] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this file of it, as Kaggle lists it; may be given several times."),
    ] = None,
    no_unpack: Annotated[bool, typer.Option("--no-unpack", help="Leave the archive as it is.")] = False,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Don't remove the archive after unpacking.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a data set from Kaggle, check it and unpack it.

    Stopped, the same command goes on where it was. Needs an account at Kaggle, and for rsna and siim that you have
    accepted the rules of the competition.
    """
    from xraycls.data.download import download as download_data

    try:
        got = download_data(name, dest, files=files or (), unpack=not no_unpack, keep_archive=keep_archive, stages=_bar)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(asdict(got), default=str))
        return
    what = f"{f'{got.files:,} files' if got.files else 'the archive'} ({got.bytes / _MB:,.1f} MB)"
    print(f"Downloaded {what} to {got.folder}." if got.is_new else f"{got.folder} is already there: {what}.")
    print(f"Licence: {got.licence}; see {got.page}.")
    if got.next_command:
        print(f"Next: {got.next_command}")


@contextmanager
def _bar(stage: str) -> Iterator[Callable[[int, int], None]]:
    from xraycls.progress import counting

    with counting(f"{stage} (MB)") as update:
        yield lambda done, total: update(done // _MB, total // _MB)
