"""xraycls: train, explain and ship chest-radiograph models.

In a notebook::

    import xraycls

    result = xraycls.train(base_model="resnet18", weights="none", epochs=5)
    xraycls.test(result.run.path).report.to_dict()["auroc"]
"""

from __future__ import annotations

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from xraycls.errors import DataError, RunError, TrainingError, UsageError, WeightsError, XrayclsError, with_arguments
from xraycls.types import Batch, Box, Detections, Prediction, Sample
from xraycls.version import __version__

if TYPE_CHECKING:
    from xraycls.data.phantom import phantom_table
    from xraycls.data.prepare import prepare
    from xraycls.data.source import load_table
    from xraycls.data.table import SampleTable
    from xraycls.evaluation.findings import evaluate_findings
    from xraycls.evaluation.report import evaluate
    from xraycls.inference.fusion import weighted_boxes_fusion
    from xraycls.inference.load import load_model
    from xraycls.models.classifier import build_classifier, load_classifier
    from xraycls.progress import TrainingProgress
    from xraycls.workflows.calibrate import calibrate, remove_calibration
    from xraycls.workflows.cam import cam
    from xraycls.workflows.detect import detect
    from xraycls.workflows.detection.evaluate import evaluate_detector
    from xraycls.workflows.detection.train import train_detector
    from xraycls.workflows.ensemble import make_ensemble
    from xraycls.workflows.export import export_model
    from xraycls.workflows.folds import train_folds
    from xraycls.workflows.predict import predict
    from xraycls.workflows.sweep.run import sweep
    from xraycls.workflows.test import test
    from xraycls.workflows.train import train

# Loaded at first use: `import xraycls` and `xraycls --help` stay instant, as torch takes seconds to import.
_LAZY = {
    "SampleTable": "xraycls.data.table",
    "TrainingProgress": "xraycls.progress",
    "build_classifier": "xraycls.models.classifier",
    "calibrate": "xraycls.workflows.calibrate",
    "cam": "xraycls.workflows.cam",
    "detect": "xraycls.workflows.detect",
    "evaluate": "xraycls.evaluation.report",
    "evaluate_detector": "xraycls.workflows.detection.evaluate",
    "evaluate_findings": "xraycls.evaluation.findings",
    "export_model": "xraycls.workflows.export",
    "load_classifier": "xraycls.models.classifier",
    "load_model": "xraycls.inference.load",
    "load_table": "xraycls.data.source",
    "make_ensemble": "xraycls.workflows.ensemble",
    "phantom_table": "xraycls.data.phantom",
    "predict": "xraycls.workflows.predict",
    "prepare": "xraycls.data.prepare",
    "remove_calibration": "xraycls.workflows.calibrate",
    "sweep": "xraycls.workflows.sweep.run",
    "test": "xraycls.workflows.test",
    "train": "xraycls.workflows.train",
    "train_detector": "xraycls.workflows.detection.train",
    "train_folds": "xraycls.workflows.folds",
    "weighted_boxes_fusion": "xraycls.inference.fusion",
}

__all__ = [
    "Batch",
    "Box",
    "DataError",
    "Detections",
    "Prediction",
    "RunError",
    "Sample",
    "SampleTable",
    "TrainingError",
    "TrainingProgress",
    "UsageError",
    "WeightsError",
    "XrayclsError",
    "__version__",
    "build_classifier",
    "calibrate",
    "cam",
    "detect",
    "evaluate",
    "evaluate_detector",
    "evaluate_findings",
    "export_model",
    "load_classifier",
    "load_model",
    "load_table",
    "make_ensemble",
    "phantom_table",
    "predict",
    "prepare",
    "remove_calibration",
    "sweep",
    "test",
    "train",
    "train_detector",
    "train_folds",
    "weighted_boxes_fusion",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(_LAZY[name]), name)
        globals()[name] = with_arguments(found) if isfunction(found) else found
        return globals()[name]
    raise AttributeError(f"module 'xraycls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
