"""`xraycls models`."""

from __future__ import annotations

import json

from xraycls.cli.invocation import print_table
from xraycls.cli.options import JsonOption


def models(as_json: JsonOption = False) -> None:
    """List the networks that can be trained."""
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
