"""An example or two for every command, shown at the end of its help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer

EXAMPLES: Mapping[str, Sequence[str]] = {
    "train": (
        "xraycls train chest_xray --base-model resnet18",
        'xraycls train films.csv --images films --map "COVID-19=PNEUMONIA" --epochs 20 -o runs/covid',
        "xraycls train chest_xray -o runs/first --resume auto",
    ),
    "test": ("xraycls test runs/first", "xraycls test runs/first --data other_hospital --unseen-only"),
    "predict": ("xraycls predict runs/first film.jpeg", "xraycls predict ResNet18 new_images -o results"),
    "calibrate": (
        "xraycls calibrate runs/first --data other_hospital --method platt",
        "xraycls calibrate runs/first --data films.csv --threshold sensitivity=0.95",
        "xraycls calibrate runs/first --remove",
    ),
    "cam": ("xraycls cam runs/first film.jpeg", "xraycls cam ResNet18 new_images --method gradcam++ -o maps"),
    "ensemble": ("xraycls ensemble runs/first runs/first -o runs/both --weights equal",),
    "prune": ("xraycls prune -m runs/first -o slim.safetensors -pth 0.3",),
    "export": (
        "xraycls export runs/first -o onnx",
        "xraycls export runs/detector -o onnx --form heads",
        "xraycls export runs/first -o onnx --precision int8 --max-drop 0.005",
    ),
    "sweep": (
        "xraycls sweep unet --data films --over optimizer=adam,adamw,sgd --set sgd:lr=0.05 --workers 2",
        "xraycls sweep train --data chest_xray --over lr=log:1e-5..1e-2 --search tpe --trials 20 --halving 2",
        "xraycls sweep runs/sweep",
    ),
    "models": ("xraycls models", "xraycls models --json"),
    "doctor": ("xraycls doctor",),
    "convert-weights": ("xraycls convert-weights ssd_resnet18_epoch_080.hdf5 ssd.safetensors -e ssd_train.txt",),
    "dataset_convert": ("xraycls dataset_convert -d kitti.txt -o tfrecords/kitti",),
    "detector train": (
        "xraycls detector train -c detector.yaml -o runs/detector",
        "xraycls detector train -c detector.yaml --set loop.epochs=80 --set data=films",
    ),
    "detector evaluate": (
        "xraycls detector evaluate runs/detector",
        "xraycls detector evaluate runs/detector -d films",
    ),
    "detector detect": ("xraycls detector detect runs/detector new_images -o detections -t 0.4",),
    "detector prune": ("xraycls detector prune runs/detector -o slim.safetensors -pth 0.3",),
    "unet train": ("xraycls unet train --data stage_2_train --labels train.csv --output runs/unet --size 256",),
    "unet evaluate": ("xraycls unet evaluate runs/unet",),
    "unet predict": ("xraycls unet predict runs/unet --data new_images --output boxes",),
    "bench parity": ("xraycls bench parity --data chest_xray --model runs/first",),
    "bench inference": ("xraycls bench inference runs/first onnx",),
    "data phantom": ("xraycls data phantom phantom -n 200", "xraycls data phantom siim -n 60 --layout siim"),
    "data download": ("xraycls data download kermany --dest kermany",),
    "data list": ("xraycls data list chest_xray", "xraycls data list films.csv --images films --json"),
    "data prepare": (
        "xraycls data prepare chest_xray chest_xray-320",
        "xraycls data prepare films.csv store --size 256 --shard 1/4",
    ),
    "data show": ("xraycls data show chest_xray -n 25 -o sheet.png", "xraycls data show chest_xray --augmented"),
    "data split": ("xraycls data split films.csv -o split.csv",),
    "data convert": (
        "xraycls data convert kitti_folder coco_folder --to coco",
        "xraycls data convert dicom_folder films --to png --headers drop",
    ),
    "data siim2kitti": ("xraycls data siim2kitti -l train.csv -t dicom-images-train --kf siim-kitti --px 512",),
    "data rsna-features": ("xraycls data rsna-features stage_2_train_images -o features.csv",),
    "data arrange": ("xraycls data arrange coronahack coronahack arranged",),
    "data merge": ("xraycls data merge chest_xray-320",),
    "data audit": ("xraycls data audit chest_xray", "xraycls data audit films.csv --images films --quick --strict"),
}
"""Command → what may be typed."""

_OF_NETWORKS: Mapping[str, Sequence[str]] = {
    "train": ("xraycls {0} train -e {0}_train.txt -r results --mount /workspace=.",),
    "evaluate": ("xraycls {0} evaluate -e {0}_train.txt -m results/weights/{0}_resnet18_epoch_080.safetensors",),
    "inference": ("xraycls {0} inference -e {0}_train.txt -m model.safetensors -i new_images -r results",),
    "prune": ("xraycls {0} prune -m model.safetensors -o slim.safetensors -pth 0.3",),
    "kmeans": ("xraycls {0} kmeans -l labels -i images -n 9 -x 608 -y 608",),
    "spec-check": ("xraycls {0} spec-check -e {0}_train.txt",),
    "export": ("xraycls {0} export -m model.safetensors -e {0}_train.txt -o model.onnx",),
}


def add_examples(app: typer.Typer, above: str = "") -> None:
    """Put the examples of every command below ``app`` at the end of its help."""
    for info in app.registered_commands:
        name = info.name or getattr(info.callback, "__name__", "")
        examples = examples_of(f"{above}{name}")
        info.epilog = "\n\n".join(("Examples:" if len(examples) > 1 else "Example:", *examples)) if examples else None
    for group in app.registered_groups:
        if group.typer_instance and not group.hidden:
            add_examples(group.typer_instance, f"{above}{group.name} ")


def examples_of(command: str) -> tuple[str, ...]:
    """Returns what may be typed to use a command, such as "data list"; empty for one that has no examples.

    Example:
        >>> examples_of("ssd spec-check")
        ('xraycls ssd spec-check -e ssd_train.txt',)
    """
    group, _, verb = command.rpartition(" ")
    if command in EXAMPLES:
        return tuple(EXAMPLES[command])
    return tuple(example.format(group) for example in _OF_NETWORKS.get(verb, ())) if group else ()
