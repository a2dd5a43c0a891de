"""`xraycls convert-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xraycls.cli.tao_options import KeyOption, MountOption


def convert_weights(
    source: Annotated[Path, typer.Argument(help="A model of TAO 5, .hdf5, or a detector of xraycls, .safetensors.")],
    target: Annotated[Path, typer.Argument(help="The file to write, .safetensors or .hdf5.")],
    spec: Annotated[
        Path | None,
        typer.Option(
            "--experiment-spec",
            "-e",
            help="The spec that a model of TAO was trained with: classes, means and thresholds stand there.",
        ),
    ] = None,
    to: Annotated[
        Literal["safetensors", "hdf5"] | None, typer.Option(help="What to write; by default what the suffix says.")
    ] = None,
    key: KeyOption = None,
    mount: MountOption = None,
) -> None:
    """Write TAO's weights as a model of xraycls, which needs the spec no more, or a model of xraycls for TAO 5.

    Example: xraycls convert-weights ssd_resnet18_epoch_080.hdf5 ssd.safetensors -e ssd_train.txt

    Example: xraycls convert-weights ssd.safetensors ssd_resnet18_epoch_081.hdf5
    """
    from xraycls.cli.secrets import key_of
    from xraycls.tao.mounts import read_mounts
    from xraycls.workflows.detection.convert_weights import convert_weights as convert

    mounts = read_mounts(mount or ())
    for line in convert(source, target, spec, to=to or "", key=key_of(key, mounts.variables), mounts=mounts):
        print(line)
