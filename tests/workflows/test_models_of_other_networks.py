"""The file of another network in the place of a Faster R-CNN's is one sentence, whichever command gets it."""

import pytest
import torch

from tests.models.detectors import small_detector
from tests.tao.test_tao_rules import FASTER_RCNN
from xraycls.errors import SpecError, UsageError, WeightsError
from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
from xraycls.models.detection.files import save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.tao.networks import NETWORKS
from xraycls.workflows.detection.convert_weights import convert_weights
from xraycls.workflows.detection.inference import infer
from xraycls.workflows.detection.spec import evaluate_spec, train_spec

NETWORK = NETWORKS["faster_rcnn"]


@pytest.fixture(scope="module")
def ssd(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "frcnn_kitti.epoch_3.safetensors"
    save_detector(small_detector(), path)
    return path


@pytest.fixture
def spec(tmp_path):
    def write(training: str = ""):
        path = tmp_path / "spec.txt"
        path.write_text(FASTER_RCNN.replace("num_epochs: 12", f"num_epochs: 12 {training}"))
        return path

    return write


def test_evaluation_and_inference_take_no_ssd(ssd, spec, tmp_path):
    said = rf"{ssd.name} is a model of SSD, and not of Faster R-CNN. Use xraycls ssd"
    with pytest.raises(UsageError, match=said):
        evaluate_spec(NETWORK, ssd, spec(), results=tmp_path / "out")
    with pytest.raises(UsageError, match=said):
        infer(ssd, tmp_path, tmp_path / "out", spec=spec())


@pytest.mark.parametrize("field", ["retrain_pruned_model", "resume_from_model"])
def test_training_goes_on_with_no_ssd(ssd, spec, tmp_path, field):
    with pytest.raises(SpecError, match=rf"spec.txt, line \d+: training_config.{field} names a model of SSD, /.*"):
        train_spec(NETWORK, spec(f"{field}: '{ssd}'"), tmp_path / "out")


@pytest.mark.parametrize("field", ["retrain_pruned_model", "resume_from_model"])
def test_training_goes_on_with_no_ssd_of_tao(ssd, spec, tmp_path, field):
    """Such a file has no name of its network in it: its layers tell."""
    pytest.importorskip("h5py")
    convert_weights(ssd, tmp_path / "ssd.epoch_3.hdf5", to="hdf5")
    said = rf"training_config.{field} names a model of SSD, .*ssd.epoch_3.hdf5. Name one of Faster R-CNN"
    with pytest.raises(SpecError, match=said):
        train_spec(NETWORK, spec(f"{field}: '{tmp_path}/ssd.epoch_3.hdf5'"), tmp_path / "out")
    with pytest.raises(WeightsError, match=r"epoch_3.hdf5 is a model of ssd, and not of faster_rcnn. Give"):
        evaluate_spec(NETWORK, tmp_path / "ssd.epoch_3.hdf5", spec(), results=tmp_path / "judged")


def test_a_training_for_quantisation_goes_on_with_no_model_of_another_kind(tmp_path):
    pytest.importorskip("h5py")
    detector = build_detector(FasterRCNNConfig(backbone="resnet10", classes=("car",), height=160, width=160))
    save_detector(detector, tmp_path / "plain.safetensors")
    convert_weights(tmp_path / "plain.safetensors", tmp_path / "plain.epoch_3.hdf5", to="hdf5")
    text = FASTER_RCNN.replace("resnet:18", "resnet:10").replace("num_epochs: 12", "num_epochs: 12 enable_qat: true")
    (tmp_path / "spec.txt").write_text(
        text.replace("enable_qat", f"resume_from_model: '{tmp_path}/plain.epoch_3.hdf5' enable_qat")
    )
    with pytest.raises(SpecError, match=r"was trained without enable_qat, .*plain.epoch_3.hdf5, and enable_qat is on"):
        train_spec(NETWORK, tmp_path / "spec.txt", tmp_path / "out")


def test_no_training_goes_on_with_a_model_of_the_command_line_that_is_of_another_network(ssd, spec, tmp_path):
    with pytest.raises(UsageError, match=r"epoch_3.safetensors is a model of SSD, and not of Faster R-CNN"):
        train_spec(NETWORK, spec(), tmp_path / "out", weights=ssd, initial_epoch=4)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"net.pth holds weights of a classifier, and no training to go on with"):
        train_spec(NETWORK, spec(), tmp_path / "out", weights=tmp_path / "net.pth", initial_epoch=4)


def test_a_model_that_is_not_there_is_named(spec, tmp_path):
    for field in ("retrain_pruned_model", "resume_from_model", "pretrained_weights"):
        with pytest.raises(Exception, match=r"lost.epoch_3.hdf5") as caught:
            train_spec(NETWORK, spec(f"{field}: '{tmp_path}/lost.epoch_3.hdf5'"), tmp_path / "out")
        assert "\n" not in str(caught.value)
