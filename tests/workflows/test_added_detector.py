"""A detector that a stranger adds: three files and one entry in one table, and every verb works."""

import json
import subprocess
import sys
import textwrap

import pytest

from xraycls.data.phantom import write_phantom
from xraycls.data.siim2kitti import siim2kitti

# A class and a box of the strongest objects, one a cell of a map of stride 16.
NETWORK = """
from dataclasses import dataclass

import torch
from added.loss import CellsLoss, cells_loss
from torch import nn

from xraycls.models.backbones import build_backbone
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.suppression import detections_of

STRIDE = 16


@dataclass(frozen=True, kw_only=True)
class CellsConfig(DetectorConfig):
    network: str = "cells"
    loss: CellsLoss = CellsLoss()


class CellsNet(nn.Module):
    def __init__(self, backbone, outputs):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.channels[-1], outputs, 1)

    def forward(self, images):
        return self.head(self.backbone(images)[-1])


class CellsDetector(Detector):
    def __init__(self, config):
        super().__init__(config)
        backbone = build_backbone(config.backbone, strides=(STRIDE,), channels=len(config.mean))
        self.blocks, self.known_as = backbone.blocks, backbone.known_as
        self.net = CellsNet(backbone, len(config.classes) + 4)

    def forward(self, images):
        return (self.net(self.normalized(images)),)

    def criterion(self, raw, objects, weights):
        return cells_loss(raw[0], objects, weights, STRIDE, self.config.loss)

    def detect(self, raw):
        values = raw[0].float().flatten(2).transpose(1, 2)
        rows, columns = raw[0].shape[2:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([x, y, x + 1, y + 1], dim=-1).flatten(0, 1).to(values.device) * STRIDE
        boxes = cells + values[..., -4:] * STRIDE
        return detections_of(values[..., :-4].sigmoid(), boxes, self.config.suppression)
"""
LOSS = '''
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class CellsLoss:
    box_weight: float = 1.0


def cells_loss(maps, objects, weights, stride, settings):
    """Cross-entropy of every cell, and the distance of the corners in cells where an object has its centre."""
    maps, boxes = maps.float(), objects.boxes / stride
    columns, rows = ((boxes[:, side] + boxes[:, side + 2]).div(2).long() for side in (0, 1))
    rows, columns = rows.clamp(0, maps.shape[2] - 1), columns.clamp(0, maps.shape[3] - 1)
    wanted = torch.zeros_like(maps[:, :-4])
    wanted[objects.owners, objects.labels, rows, columns] = 1.0
    classes = F.binary_cross_entropy_with_logits(maps[:, :-4], wanted, reduction="none").sum(dim=(1, 2, 3))
    cells = torch.stack([columns, rows, columns + 1, rows + 1], dim=-1)
    found = maps[objects.owners, -4:, rows, columns]
    apart = F.smooth_l1_loss(found, boxes - cells, reduction="none").sum(dim=-1)
    number = weights.sum().clamp_min(1.0)
    return {
        "classes": (classes * weights).sum() / number,
        "boxes": settings.box_weight * (apart * weights[objects.owners]).sum() / number,
    }
'''
MAPPING = '''
from added.loss import CellsLoss
from added.network import CellsConfig

from xraycls.data.box_sources import BoxData
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.views import Canvas
from xraycls.tao.checks import check_fields, lower_case_mapping
from xraycls.tao.common import NMSConfig, TrainingConfig
from xraycls.tao.fields import define, message
from xraycls.tao.limits import at_least, multiple_of, one_of
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.networks.parts import box_sources, evaluation_config, suppression_of
from xraycls.tao.networks.yolo_v4_spec import DatasetConfig, EvalConfig
from xraycls.training.config import LoopConfig
from xraycls.training.job import DetectionJob


@message
class CellsMessage:
    """The network."""

    arch: str = define("of the backbone", one_of("resnet10", "resnet18"))
    size: int = define("of the input, pixels", at_least(32), multiple_of(16))
    box_weight: float = define("of the box loss", at_least(0))


@message
class CellsSpec:
    """A whole spec."""

    dataset_config: DatasetConfig = define("the data", required=True)
    training_config: TrainingConfig = define("how it is trained", required=True)
    eval_config: EvalConfig = define("how it is evaluated", required=True)
    nms_config: NMSConfig = define("which predictions stay", required=True)
    cells_config: CellsMessage = define("the network", required=True)


def check(spec):
    check_fields(spec, "cells_config", "eval_config", "training_config.num_epochs")


def data_of(spec, mounts):
    classes = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    return BoxData(
        classes=tuple(sorted(set(classes.values()))),
        mapping=classes,
        training=box_sources(spec, "data_sources", mounts or Mounts()),
        validation=box_sources(spec, "validation_data_sources", mounts or Mounts()),
    )


def job(spec, mounts=None):
    check(spec)
    network, training, data = spec.config.cells_config, spec.config.training_config, data_of(spec, mounts)
    return DetectionJob(
        detector=CellsConfig(
            backbone=network.arch,
            classes=data.classes,
            height=network.size,
            width=network.size,
            suppression=suppression_of(spec.config.nms_config),
            loss=CellsLoss(network.box_weight),
        ),
        data=data,
        recipe=SSDRecipe(Canvas(network.size, network.size)),
        loop=LoopConfig(epochs=training.num_epochs, monitor="mAP", higher_is_better=True),
        evaluation=evaluation_config(spec.config.eval_config),
        batch_size=training.batch_size_per_gpu,
    )


def evaluation(spec, mounts=None):
    return data_of(spec, mounts), evaluation_config(spec.config.eval_config), suppression_of(spec.config.nms_config)


CELLS = TaoNetwork(
    name="cells",
    title="Cells",
    spec=CellsSpec,
    marks=(("cells", "cells_config"),),
    check=check,
    verbs=("train", "evaluate", "inference", "prune"),
    job=job,
    evaluation=evaluation,
    suppression=lambda spec: suppression_of(spec.config.nms_config),
)
'''
FILES = {"network.py": NETWORK, "loss.py": LOSS, "mapping.py": MAPPING}
LINE = """
DETECTORS["cells"] = Registered("added.network.CellsConfig", "added.network.CellsDetector", "added.mapping.CELLS")
"""
PROGRAM = f"from xraycls.models.detection.registry import DETECTORS, Registered\n{LINE}" + textwrap.dedent("""
    import json
    import sys

    from xraycls.cli import main

    for arguments in json.loads(sys.argv[1]):
        try:
            main(arguments)
        except SystemExit as end:
            if end.code:
                raise
""")
SPEC = """
cells_config { arch: "resnet10" size: 64 box_weight: 0.5 }
training_config { batch_size_per_gpu: 4 num_epochs: 1 }
eval_config { average_precision_mode: SAMPLE batch_size: 4 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 20 }
dataset_config {
  data_sources { label_directory_path: "ROOT/labels" image_directory_path: "ROOT/images" }
  validation_data_sources { label_directory_path: "ROOT/labels" image_directory_path: "ROOT/images" }
  target_class_mapping { key: "opacity" value: "opacity" }
}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What the verbs of the added network printed, and the folder of their files."""
    root = tmp_path_factory.mktemp("added")
    (root / "added").mkdir()
    for name, text in FILES.items():
        (root / "added" / name).write_text(text)
    (root / "program.py").write_text(PROGRAM)
    write_phantom(root / "siim", images=8, size=80, layout="siim")
    siim2kitti(root / "siim" / "train_image_level.csv", root / "siim" / "train", root / "kitti", pixels=64)
    films = root / "kitti" / "formatted"
    (root / "spec.txt").write_text(SPEC.replace("ROOT", str(films)))
    spec, model, slim = (str(root / name) for name in ("spec.txt", "run/weights/cells_resnet10_epoch_001", "slim"))
    verbs = [
        ["cells", "spec-check", "-e", spec, "--json"],
        ["cells", "train", "-e", spec, "-r", str(root / "run"), "--device", "cpu"],
        ["cells", "evaluate", "-e", spec, "-m", model, "--device", "cpu"],
        ["cells", "inference", "-e", spec, "-m", model, "-i", str(films / "images"), "-r", str(root / "found"), "-t",
         "0.001", "--device", "cpu"],
        ["cells", "prune", "-m", model, "-o", slim, "-pth", "0.9"],
        ["cells", "evaluate", "-e", spec, "-m", slim, "-r", str(root / "again"), "--device", "cpu"],
    ]  # fmt: skip
    command = [sys.executable, "program.py", json.dumps(verbs)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, root


def test_three_files_and_one_line_are_added():
    assert len(FILES) == 3
    assert LINE.count("\n") == 2


@pytest.mark.walkthrough
@pytest.mark.slow
def test_every_verb_of_an_added_network_works(done):
    printed, root = done
    assert '"cells_config.box_weight"' in printed
    figures = json.loads((root / "run" / "weights" / "evaluation.json").read_text())
    assert figures["images"] == 8
    assert len(list((root / "found" / "labels").iterdir())) == 8
    assert any(path.read_text() for path in (root / "found" / "labels").iterdir())
    assert "Pruning ratio" in printed
    assert (root / "again" / "evaluation.json").is_file()
    status = (root / "run" / "status.json").read_text()
    assert "Cells training finished successfully." in status
    assert "Cells pruning finished successfully." in (root / "status.json").read_text()
