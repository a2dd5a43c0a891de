"""`xraycls convert-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.tao_options import MountOption


def convert_weights(
    source: Annotated[Path, typer.Argument(help="A trained or pruned model of TAO 5, .hdf5.")],
    target: Annotated[Path, typer.Argument(help="The file to write, .safetensors.")],
    spec: Annotated[
        Path,
        typer.Option(
            "--experiment-spec", "-e", help="The spec it was trained with: classes, means and thresholds stand there."
        ),
    ],
    mount: MountOption = None,
) -> None:
    """Write TAO's weights as a model of xraycls, which evaluate, prune, inference and train take without the spec.

    Example: xraycls convert-weights ssd_resnet18_epoch_080.hdf5 ssd.safetensors -e ssd_train.txt
    """
    from xraycls.tao.mounts import read_mounts
    from xraycls.workflows.detection.convert_weights import convert_weights as convert

    for line in convert(source, target, spec, mounts=read_mounts(mount or ())):
        print(line)
