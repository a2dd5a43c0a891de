"""The options that say how a data source is to be read, for every command that reads one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from xraycls.data.options import ReadOptions

_PANEL = "Reading"
_SOURCES = ("path", "source", "data", "images")  # parameters that may be addresses

_OPTIONS: dict[str, Any] = {
    "path_column": Annotated[str | None, typer.Option(help="Column that names the images.", rich_help_panel=_PANEL)],
    "label_column": Annotated[str | None, typer.Option(help="Column of the class.", rich_help_panel=_PANEL)],
    "patient_column": Annotated[str | None, typer.Option(help="Column of the patient.", rich_help_panel=_PANEL)],
    "split_column": Annotated[
        str | None, typer.Option(help="Column of the split, or of numbers of folds.", rich_help_panel=_PANEL)
    ],
    "fold": Annotated[
        int | None, typer.Option(help="Fold to test on, where a column numbers folds.", rich_help_panel=_PANEL)
    ],
    "positive": Annotated[str | None, typer.Option(help="The positive one of two classes.", rich_help_panel=_PANEL)],
    "class_map": Annotated[
        str | None,
        typer.Option(
            "--map", help='Rename and merge classes: "COVID-19=PNEUMONIA,No Finding=NORMAL".', rich_help_panel=_PANEL
        ),
    ],
    "bits": Annotated[
        int | None,
        typer.Option(min=8, max=16, help="Bits of the grey levels in 16-bit pictures.", rich_help_panel=_PANEL),
    ],
    "keep_masks": Annotated[
        bool,
        typer.Option("--keep-masks", help="Keep masks, thumbnails and heat maps as pictures.", rich_help_panel=_PANEL),
    ],
    "task": Annotated[
        str, typer.Option(help="single label, multi (several findings an image), or auto.", rich_help_panel=_PANEL)
    ],
    "labels": Annotated[
        str | None,
        typer.Option(help='Findings, columns of 0 and 1 or names in cells: "Edema,Effusion".', rich_help_panel=_PANEL),
    ],
    "label_separator": Annotated[
        str | None, typer.Option(help='Between the findings in a cell of labels, such as "|".', rich_help_panel=_PANEL)
    ],
    "blank": Annotated[
        str, typer.Option(help="What an empty cell of --labels means: unknown or absent.", rich_help_panel=_PANEL)
    ],
    "views": Annotated[
        str | None, typer.Option(help='Projections to keep: frontal, lateral, or "PA,AP".', rich_help_panel=_PANEL)
    ],
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter ``options`` becomes the flags of :class:`xraycls.data.options.ReadOptions`."""

    @functools.wraps(command)
    def run(*args: Any, **values: Any) -> None:
        given = {field.name: values.pop(field.name) for field in fields(ReadOptions)}
        command(*args, **values | _fetched(values), options=ReadOptions(**given))

    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    others = (parameter for name, parameter in signature.parameters.items() if name != "options")
    kept = [parameter.replace(annotation=hints[parameter.name]) for parameter in others]
    defaults = ReadOptions()
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return run


def _fetched(values: Mapping[str, Any]) -> dict[str, Path]:
    """The arguments that were addresses, as copies of what lies there."""
    from xraycls.data.address import address_of

    given = {name: values[name] for name in _SOURCES if isinstance(values.get(name), Path)}
    sources = {name: path for name, path in given.items() if address_of(path)}
    if not sources:
        return {}
    from xraycls.data.remote import local_copy
    from xraycls.progress import counting

    alone = "images" in given
    with counting("fetching") as progress:
        return {n: local_copy(path, alone=alone and n != "images", progress=progress) for n, path in sources.items()}
