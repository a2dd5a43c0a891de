"""`xraycls data rsna-features`: the tables that the RSNA pneumonia U-Net was trained from."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from xraycls.cli.options import JsonOption, ShardOption, print_shard


def rsna_features(
    root: Annotated[
        Path | None, typer.Argument(help="Folder of the challenge; what it holds by Kaggle's names needs no flag.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", "-i", help="Folder of the training images.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", "-l", help="stage_2_train_labels.csv, or the folder of both tables.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="stage_2_detailed_class_info.csv.")] = None,
    test_images: Annotated[Path | None, typer.Option(help="Folder of the test images.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for train.csv and predict.csv.")] = Path(),
    kind: Annotated[
        Literal["train", "training", "prediction"] | None,
        typer.Option("--type", "-t", help="What --images are, where one table alone is wanted."),
    ] = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Join sex, age and view of RSNA's DICOM headers with boxes and classes: writes train.csv and predict.csv."""
    from xraycls.data.rsna_features import RsnaSources, write_rsna_features
    from xraycls.progress import counting

    given = {"images": images, "labels": labels, "classes": classes, "test_images": test_images}
    if labels is not None and labels.is_dir():
        tables = RsnaSources.below(labels)
        given |= {"labels": tables.labels, "classes": classes or tables.classes}
    found = RsnaSources(None, None, None, None) if root is None else RsnaSources.below(root)
    sources = replace(found, **{name: path for name, path in given.items() if path is not None})
    if kind == "prediction":
        sources = replace(sources, images=None, test_images=test_images or images or found.test_images)
    elif kind:
        sources = replace(sources, test_images=None)
    if shard:
        from xraycls.data.rsna_features import shard_rsna_features
        from xraycls.data.shards import Shard

        with counting("reading headers") as progress:
            print_shard(shard_rsna_features(sources, output, Shard.parse(shard), progress=progress))
        return
    with counting("reading headers") as progress:
        features = write_rsna_features(sources, output, progress=progress)
    if as_json:
        print(json.dumps(asdict(features), default=str))
        return
    written = " and ".join(str(path) for path in (features.train, features.predict) if path)
    print(f"Wrote {written}: {features.images:,} images, {features.boxes:,} boxes.")
