"""`xraycls yolo_v4 kmeans`: TAO's search for anchors, with its flags and its printed block."""

from __future__ import annotations

from typing import Annotated

import typer

from xraycls.cli.tao_options import EXTRA, MountOption


def kmeans(
    labels: Annotated[list[str], typer.Option("--label-folders", "-l", help="Folders of KITTI labels.")],
    images: Annotated[list[str], typer.Option("--image-folders", "-i", help="Folders of the images, in that order.")],
    width: Annotated[int, typer.Option("--size-x", "-x", min=1, help="Width of the network's input, pixels.")],
    height: Annotated[int, typer.Option("--size-y", "-y", min=1, help="Height of the network's input, pixels.")],
    clusters: Annotated[int, typer.Option("--num-clusters", "-n", min=1, help="Number of anchors.")] = 9,
    max_steps: Annotated[int, typer.Option("--max-steps", min=1, help="Steps after which the search ends.")] = 10_000,
    min_x: Annotated[int, typer.Option("--min-x", min=0, help="Boxes no wider don't count, pixels.")] = 0,
    min_y: Annotated[int, typer.Option("--min-y", min=0, help="Boxes no higher don't count, pixels.")] = 0,
    results_dir: Annotated[str | None, typer.Option("--results-dir", "-r", help="Folder for status.json.")] = None,
    write: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Spec to put the anchors into.", rich_help_panel=EXTRA)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the boxes that the search starts from.", rich_help_panel=EXTRA)] = 0,
    mount: MountOption = None,
) -> None:
    """Find anchors for YOLOv4 among the boxes of KITTI labels."""
    from xraycls.tao.kmeans import find_anchors, write_anchors
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.results import reported

    def update(step: int) -> None:
        if step % 10 == 0:
            print(f"Start optimization iteration: {step + 1}")

    mounts = read_mounts(mount or ())
    with reported(None if results_dir is None else mounts.path(results_dir), "k-means") as status:
        anchors = find_anchors(
            [mounts.path(folder) for folder in labels],
            [mounts.path(folder) for folder in images],
            (width, height),
            clusters,
            smallest=(min_x, min_y),
            max_steps=max_steps,
            seed=seed,
            on_step=update,
        )
        lines = [f"({across:.2f}, {down:.2f})" for across, down in anchors]
        print("Please use following anchor sizes in YOLO config:")
        for line in lines:
            print(line)
        if write is not None:
            write_anchors(mounts.path(write), anchors)
            print(f"They are in {mounts.path(write)}.")
        status.write("Anchors are found.", figures={"kpi": {"k-means generated anchors": str(lines)}})
