"""`xraycls models`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import JsonOption


def models(
    weights: Annotated[bool, typer.Option("--weights", help="List chest X-ray weights to start from.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the networks that can be trained, or weights of chest X-ray networks to start from."""
    if weights:
        _weights(as_json)
        return
    from xraycls.models.zoo import list_architectures

    listed = list_architectures()
    if as_json:
        print(json.dumps([{"name": a.name, "input_size": a.input_size, "cam_layer": a.cam_layer} for a in listed]))
        return
    from rich.table import Table

    table = Table("Name", "Input", "CAM layer", "ImageNet weights")
    for a in listed:
        table.add_row(a.name, f"{a.input_size} px", a.cam_layer or "", a.weights or "")
    print_table(table)
    print("Names are taken in any case. Any timm net: timm:NAME; any torchvision classifier: torchvision:NAME.")


def _weights(as_json: bool) -> None:
    from xraycls.models.published import KNOWN_FILES, LICENCE, PUBLISHED
    from xraycls.models.zoo import find

    rows: list[dict[str, str | list[str]]] = [
        {
            "weights": each.name,
            "base_models": [each.base_model],
            "input": f"{find(each.base_model).input_size} px, grey, -1024 to 1024",
            "trained_on": each.trained_on,
            "licence": LICENCE,
            "source": each.url,
        }
        for each in PUBLISHED.values()
    ]
    rows += [
        {
            "weights": each.weights,
            "base_models": list(each.base_models),
            "input": "as the base model",
            "trained_on": "see source",
            "licence": each.licence,
            "source": each.source,
        }
        for each in KNOWN_FILES
    ]
    if as_json:
        print(json.dumps(rows))
        return
    from rich.table import Table

    table = Table("--weights", "--base-model", "Input", "Trained on", "Licence", "From")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else ", ".join(cell) for cell in row.values()))
    print_table(table)
    print("hf-hub:OWNER/NAME is fetched unless the hub's cache has it; a folder with the same files does as well.")
    print(
        "Nothing else is downloaded: put torchxrayvision's files into ~/.torchxrayvision/models_data, or name a file."
    )
