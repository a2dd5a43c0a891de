"""Exported folders that several files of tests use; an export takes seconds, so there are two in the default run."""

from pathlib import Path

import pytest

pytest.importorskip("onnxscript", reason="needs the extra: export")

from tests.export import networks
from xraycls.models.classifier import save_classifier
from xraycls.models.detection.files import save_detector
from xraycls.workflows.export import export_model


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    save_classifier(networks.classifier(), path, extra={"threshold": "0.4", "augment": "radiograph"})
    return path


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "model.safetensors"
    save_detector(networks.ssd(), path)
    return path


@pytest.fixture(scope="session")
def exported_classifier(classifier_file, tmp_path_factory):
    return export_model(classifier_file, tmp_path_factory.mktemp("exported") / "classifier")


@pytest.fixture(scope="session")
def exported_detector(detector_file, tmp_path_factory):
    return export_model(detector_file, tmp_path_factory.mktemp("exported") / "detector")
