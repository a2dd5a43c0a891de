"""Every writer that works for more than an instant, on as little data as it takes."""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm  # noqa: F401 (imported once, before the forks)
import torch
import torch.utils.tensorboard
import torchvision  # noqa: F401

from tests.robustness.kills import Writer
from xraycls.data.formats import FORMATS
from xraycls.data.formats.convert import convert
from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.data.siim2kitti import siim2kitti
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.tao.networks.ssd import SSD
from xraycls.workflows.detection.spec import train_spec
from xraycls.workflows.train import train

FORMATS_WRITTEN = ("csv", *(name for name, each in FORMATS.items() if each.write))

_CLOCK = {"seconds", "waiting", "images_per_second"}  # of metrics.csv and of the state
# A table of TAO starts anew with every start of a training, as TAO's does.
_OF_THE_MOMENT = ("events.", "status.json", "environment.json", ".lock", "error.txt", "ssd_training_log_")
NETWORK = "timm:test_resnet"  # half a million parameters

SPEC = """
random_seed: 42
ssd_config {
  aspect_ratios_global: "[1.0, 2.0, 0.5]" scales: "[0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]"
  two_boxes_for_ar1: true variances: "[0.1, 0.1, 0.2, 0.2]" arch: "mobilenet_v1" nlayers: 0
}
training_config {
  batch_size_per_gpu: 3 num_epochs: 2
  learning_rate { soft_start_annealing_schedule {
    min_learning_rate: 1e-5 max_learning_rate: 1e-3 soft_start: 0.2 annealing: 0.6 } }
  regularizer { type: L2 weight: 1e-5 }
}
eval_config { validation_period_during_training: 1 batch_size: 4 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.01 clustering_iou_threshold: 0.6 top_k: 50 }
augmentation_config {
  preprocessing { output_image_width: 64 output_image_height: 64 output_image_channel: 3
                  min_bbox_width: 1.0 min_bbox_height: 1.0 }
}
dataset_config {
  data_sources { tfrecords_path: "ROOT/tf/kitti*" image_directory_path: "ROOT/kitti/formatted" }
  image_extension: "png" validation_fold: 0
  target_class_mapping { key: "opacity" value: "opacity" }
}
"""
CONVERT = """
kitti_config {
  root_directory_path: "ROOT/kitti/formatted" image_dir_name: "images" label_dir_name: "labels"
  image_extension: ".png" partition_mode: "random" num_partitions: 2 val_split: 34 num_shards: 2
}
"""


def all_writers(folder: Path) -> list[Writer]:
    """Writers whose sources lie in a folder, which is made."""
    films = _films(folder / "films")
    siim = folder / "siim"
    write_phantom(siim, images=8, size=64, layout="siim")
    siim2kitti(siim / "train_image_level.csv", siim / "train", folder / "kitti", pixels=64)
    for name, text in (("convert.txt", CONVERT), ("spec.txt", SPEC)):
        (folder / name).write_text(text.replace("ROOT", str(folder)))
    dataset_convert(folder / "convert.txt", folder / "tf" / "kitti")
    kitti = folder / "kitti" / "formatted"

    def convert_again(target: Path, to: str = "coco") -> None:
        convert(kitti, target / "made", to=to, overwrite=True)

    def converted_before(target: Path) -> None:
        target.mkdir()
        convert(kitti, target / "made", to="yolo")

    return [
        Writer("data prepare", lambda target: prepare(films, target / "store", size=16, threads=1), _files),
        *(Writer(f"data convert --to {to}", partial(convert_again, to=to), _files) for to in FORMATS_WRITTEN),
        Writer("data convert --overwrite", convert_again, _files, converted_before),
        Writer("siim2kitti", partial(_siim2kitti, siim), _files),
        Writer("dataset_convert", lambda t: dataset_convert(folder / "convert.txt", t / "tf" / "kitti"), _files),
        Writer("train, a classifier", partial(_train, films), _trained),
        Writer("ssd train, a detector", partial(_train_ssd, folder / "spec.txt"), _trained),
    ]


def _films(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            below = folder / split / name
            below.mkdir(parents=True)
            for number in range(count):
                picture = draw.integers(20, 120, (24, 24), dtype=np.uint8) + np.uint8(100 * label)
                cv2.imwrite(str(below / f"{number}.png"), picture)
    return folder


def _train(films: Path, target: Path) -> None:
    settings = {"data": str(films), "base_model": NETWORK, "weights": "none", "size": 32, "epochs": 2, "batch_size": 4}
    train(output=target / "run", resume="auto", device="cpu", precision="fp32", loader="torch", threads=1, **settings)


def _train_ssd(spec: Path, target: Path) -> None:
    train_spec(SSD, spec, target / "run", resume=True, device="cpu", precision="fp32", loader="torch", threads=1)


def _siim2kitti(siim: Path, target: Path) -> None:
    siim2kitti(siim / "train_image_level.csv", siim / "train", target / "kitti", pixels=32)


def _files(folder: Path) -> dict[str, Any]:
    """Every file but those that tell of the moment, by a digest; hidden ones are leftovers, and count as well."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = ((path, path.relative_to(folder).as_posix()) for path in paths if not path.name.startswith(_OF_THE_MOMENT))
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for path, name in named}


def _trained(folder: Path) -> dict[str, Any]:
    """The files of a training; figures without the time that they took."""
    readers: Mapping[str, Callable[[Path], Any]] = {"metrics.csv": _metrics, "last.pt": _state}
    found = _files(folder)
    for path in folder.rglob("*"):
        if path.name in readers:
            found[path.relative_to(folder).as_posix()] = readers[path.name](path)
    return found


def _metrics(path: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(path.read_text()))
    return [{name: value for name, value in row.items() if name not in _CLOCK} for row in rows]


def _state(path: Path) -> str:
    return _plain(torch.load(path, weights_only=True))


def _plain(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return str({name: _plain(each) for name, each in value.items() if name not in _CLOCK})
    if isinstance(value, list | tuple):
        return str([_plain(each) for each in value])
    return repr(value)
