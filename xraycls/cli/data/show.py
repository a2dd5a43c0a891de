"""`xraycls data show`: look at a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import JsonOption
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions


@reads_data
def show(
    path: Annotated[
        Path | None, typer.Argument(help="Any data source, a picture or a folder of them; the phantom when omitted.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=400, help="Pictures on the sheet.")] = 16,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it, .png or .jpg.")] = Path(
        "sheet.png"
    ),
    split: Annotated[str | None, typer.Option(help="Only this split: train, val or test.")] = None,
    label: Annotated[str | None, typer.Option("--class", help="Only this class.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed shows other pictures, or other views.")] = 0,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    augmented: Annotated[
        bool, typer.Option("--augmented", help="Show what training makes of one picture.", rich_help_panel="Augmented")
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(help="That picture: its file or its number; any by default.", rich_help_panel="Augmented"),
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="radiograph, classic2021 or none.", rich_help_panel="Augmented")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the network's input, pixels; 224.", rich_help_panel="Augmented")
    ] = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Write a contact sheet with labels and boxes, as many pictures of each class.

    The options of the panel below imply --augmented.
    """
    from xraycls.data.lettering import write_picture
    from xraycls.data.show import require_no_picture, sample_sheet, shown_table

    table = shown_table(path, images=images, split=split, label=label, options=options)
    require_no_picture(table, output)
    if augmented or any(option is not None for option in (image, augment, size)):
        from xraycls.loaders.recipes.classification import find_recipe
        from xraycls.workflows.show import picture_named, view_sheet

        recipe = find_recipe(augment or "radiograph", 224 if size is None else size)
        sheet = view_sheet(table, picture_named(table, image, seed), recipe, n=n, seed=seed)
    else:
        sheet = sample_sheet(table, n=n, seed=seed)
    write_picture(sheet, output)
    print(json.dumps({"sheet": str(output), "images": len(table), "counts": table.counts()}) if as_json else output)
