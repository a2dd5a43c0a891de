"""Detectors on disk: what comes back, and what is said of files that are something else."""

import contextlib
import json
import logging
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deeper import deeper_are_exhaustive
from tests.models.detectors import config_of, small_detector
from xraycls.errors import RunError, UsageError
from xraycls.models.detection.base import Detector
from xraycls.models.detection.files import load_detector, pruning_of, save_detector
from xraycls.models.detection.ssd import SSD_BACKBONES, SSDDetector
from xraycls.models.detection.ssd_loss import SSDLoss
from xraycls.models.files import find_model, model_suffix, named_model
from xraycls.models.pruning_plan import PrunePlan, keep_channels

PICTURES = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pruned() -> Detector:
    """A network whose first block has half of its inner filters."""
    detector = small_detector()
    block, kept = detector.net.get_submodule("backbone.layer1.0"), torch.arange(0, 64, 2)
    keep_channels(block.conv1, outputs=kept)
    keep_channels(block.bn1, outputs=kept)
    keep_channels(block.conv2, inputs=kept)
    return detector


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector in both forms."""
    folder, detector = tmp_path_factory.mktemp("models"), small_detector("squeezenet")
    save_detector(detector, folder / "plain.safetensors", extra={"epoch": "3"})
    save_detector(detector, folder / "secret.tlt", key="tlt_encode", extra={"epoch": "3"})
    return folder, detector


def same(one: Detector, other: Detector) -> bool:
    with torch.inference_mode():
        return all(map(torch.equal, one(PICTURES), other(PICTURES)))


@pytest.mark.parametrize(("name", "key"), [("plain.safetensors", ""), ("secret.tlt", "tlt_encode")])
def test_what_is_saved_comes_back(saved, name, key):
    folder, detector = saved
    loaded, extra = load_detector(folder / name, key=key)
    assert extra == {"epoch": "3"}
    assert loaded.config == detector.config
    assert not loaded.training
    assert same(loaded, detector)


def test_anyone_can_read_the_tensors_and_the_description(saved):
    folder, detector = saved
    with safetensors.safe_open(folder / "plain.safetensors", "pt") as file:
        assert set(file.keys()) == set(detector.net.state_dict())
        description = json.loads(file.metadata()["xraycls"])
    assert description["classes"] == ["nodule", "opacity"]
    assert description["config"]["suppression"] == {"confidence": 0.02, "iou": 0.45, "top_k": 7}
    assert description["pruned"] == {}
    assert (description["format"], description["kind"], description["network"]) == (4, "detector", "ssd")
    encrypted = (folder / "secret.tlt").read_bytes()
    derived = Scrypt(salt=encrypted[8:24], length=32, n=2**15, r=8, p=1).derive(b"tlt_encode")
    content = AESGCM(derived).decrypt(encrypted[24:36], encrypted[36:], encrypted[:36])
    assert safetensors.torch.load(content).keys() == detector.net.state_dict().keys()
    assert b"nodule" not in encrypted


PLANS = [
    {"mean": (117.0,)},
    {"classes": ("ä b",), "width": 96},
    {"loss": SSDLoss(focal=(0.25, 1.5)), "network": "dssd", "prediction_channels": 256, "width": 96},
]


@pytest.mark.parametrize("fields", PLANS, ids=str)
def test_every_plan_comes_back(tmp_path, fields):
    detector = small_detector("squeezenet", **fields)
    save_detector(detector, tmp_path / "a.safetensors")
    loaded, _ = load_detector(tmp_path / "a.safetensors")
    assert loaded.config == detector.config
    assert torch.equal(loaded.anchors, detector.anchors)
    assert torch.equal(loaded.mean, detector.mean)


@pytest.mark.parametrize("key", ["", "k"])
def test_a_pruned_network_is_stored_as_weights_and_a_plan(tmp_path, key):
    detector = pruned()
    save_detector(detector, tmp_path / "a", key=key)
    loaded, _ = load_detector(tmp_path / "a", key=key)
    block = loaded.net.get_submodule("backbone.layer1.0")
    assert block.conv1.weight.shape == (32, 64, 3, 3)
    assert block.conv2.weight.shape == (64, 32, 3, 3)
    assert pruning_of(loaded) == pruning_of(detector)
    assert pruning_of(detector).layers["backbone.layer1.0.conv1"] == (32, None)
    assert same(loaded, detector)
    save_detector(loaded, tmp_path / "again")  # as retraining does
    assert same(load_detector(tmp_path / "again")[0], detector)


@pytest.mark.parametrize("name", deeper_are_exhaustive(SSD_BACKBONES))
def test_a_network_that_is_not_pruned_has_an_empty_plan(name):
    """The network to compare with has shapes but no memory, which not every layer could be built with."""
    with torch.device("meta"):
        detector = SSDDetector(config_of(name))
    assert pruning_of(detector) == PrunePlan({})


KEY = "nvidia_tlt"


@pytest.mark.parametrize("key", ["tlt_encodf", "TLT_ENCODE", KEY])
def test_a_wrong_key_is_one_sentence(saved, key):
    with pytest.raises(UsageError, match=r"^The key doesn't open .*secret.tlt: it is another one, or the file is dam"):
        load_detector(saved[0] / "secret.tlt", key=key)


def test_the_key_is_in_no_message(saved, caplog):
    caplog.set_level(logging.DEBUG)
    load_detector(saved[0] / "plain.safetensors", key=KEY)
    for name in ("secret.tlt", "none.tlt"):
        with pytest.raises((RunError, UsageError)) as error:
            load_detector(saved[0] / name, key=KEY)
        assert KEY not in str(error.value)
    assert KEY not in caplog.text


def test_a_missing_key_is_one_sentence(saved):
    with pytest.raises(UsageError, match=r"secret.tlt is encrypted, and no key is given\. Give the key .*: -k KEY\.$"):
        load_detector(saved[0] / "secret.tlt")


def test_a_key_that_is_not_needed_is_said(saved, caplog):
    detector, _ = load_detector(saved[0] / "plain.safetensors", key="any")
    assert same(detector, saved[1])
    assert "plain.safetensors is not encrypted, so the key was not needed" in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "is a Keras file of TAO, which has no names of classes"),
        (bytes(range(7, 71)), "is encrypted by NVIDIA's TLT or TAO, or damaged"),
        (b"", "is encrypted by NVIDIA's TLT or TAO, or damaged"),
        (b"PK\x03\x04" + bytes(100), "is encrypted by NVIDIA's TLT or TAO, or damaged"),
    ],
    ids=["HDF5", "anything", "empty", "zip"],
)
@pytest.mark.parametrize("suffix", [".tlt", ".hdf5", ".etlt", ".pth"])
def test_models_of_others_are_refused(tmp_path, content, words, suffix):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth" and "encrypted" in words:
        words = "is not a model of xraycls, or it is damaged"
    path.write_bytes(content)
    for key in ("", "tlt_encode"):
        with pytest.raises(RunError) as error:
            load_detector(path, key=key)
        assert words in str(error.value)
        assert str(path) in str(error.value)
        ways = ("convert-weights", "Decode it once with NVIDIA's TAO 5", "Give a file that xraycls wrote")
        assert any(way in str(error.value) for way in ways)


def test_weights_of_something_else_are_refused(tmp_path):
    path = tmp_path / "classifier.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(RunError, match="holds weights, but not of a detector of xraycls"):
        load_detector(path)
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"xraycls": json.dumps({"format": 1, "classes": ["a"]})})
    with pytest.raises(RunError, match="holds weights, but not of a detector of xraycls"):
        load_detector(path)


def changed(folder, **parts: object) -> bytes:
    """The plain file with another description or other tensors."""
    with safetensors.safe_open(folder / "plain.safetensors", "pt") as file:
        description = json.loads(file.metadata()["xraycls"]) | parts
    tensors = safetensors.torch.load_file(folder / "plain.safetensors") | {}
    tensors.pop("heads.ssd_loc_0.bias") if parts.get("lacks") else None
    return safetensors.torch.save(tensors, {"xraycls": json.dumps(description)})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"format": 5}, "was written by a newer xraycls. Take the checkout of a newer version"),
        ({"lacks": True}, "1 tensors differ, the first is heads.ssd_loc_0.bias"),
        ({"pruned": {"backbone.network.0": [3, None]}}, "tensors differ, the first is backbone.network.0.weight"),
        ({"pruned": {"elsewhere": [3, None]}}, "there is no layer elsewhere"),
        ({"pruned": {"backbone.network.0": [-1, None]}}, "-1 is no number of channels"),
        ({"pruned": 7}, "is damaged"),
        ({"config": {"network": "ssd", "what": 1}}, "is damaged"),
        ({"config": {}}, "is damaged"),
        ({"config": None}, "is damaged"),
    ],
)
def test_descriptions_that_do_not_fit_are_one_sentence(saved, tmp_path, parts, words):
    (tmp_path / "a.safetensors").write_bytes(changed(saved[0], **parts))
    with pytest.raises(RunError) as error:
        load_detector(tmp_path / "a.safetensors")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["plain.safetensors", "secret.tlt"]), st.floats(0, 1, exclude_max=True) | st.integers(0, 600))
def test_a_file_cut_short_is_one_sentence(saved, name, kept):
    content = (saved[0] / name).read_bytes()
    (saved[0] / "cut.tlt").write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises((RunError, UsageError)) as error:
        load_detector(saved[0] / "cut.tlt", key="tlt_encode")
    assert "cut.tlt" in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_beginning_is_one_of_our_errors_or_another_sound_model(saved, data):
    content = bytearray((saved[0] / "plain.safetensors").read_bytes())
    length = int.from_bytes(content[:8], "little")
    for at, value in data.draw(st.dictionaries(st.integers(0, length + 7), st.integers(0, 255), max_size=3)).items():
        content[at] = value
    (saved[0] / "hurt.safetensors").write_bytes(content)
    with contextlib.suppress(RunError):
        load_detector(saved[0] / "hurt.safetensors")


def test_an_old_file_survives_a_failed_save(saved, monkeypatch):
    path, before = saved[0] / "plain.safetensors", (saved[0] / "plain.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(Exception, match="The disk is full"):
        save_detector(saved[1], path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize(
    ("asked", "there", "key", "found"),
    [
        ("a_epoch_080.tlt", ["a_epoch_080.tlt", "a_epoch_080.safetensors"], "", "a_epoch_080.tlt"),
        ("a_epoch_080.hdf5", ["a_epoch_080.tlt", "a_epoch_080.safetensors"], "", "a_epoch_080.safetensors"),
        ("a_epoch_080.hdf5", ["a_epoch_080.tlt", "a_epoch_080.safetensors"], "k", "a_epoch_080.tlt"),
        ("a_epoch_080.tlt", ["a_epoch_080.safetensors"], "k", "a_epoch_080.safetensors"),
        ("a_epoch_080", ["a_epoch_080.tlt"], "", "a_epoch_080.tlt"),
        ("pruned.tlt.hdf5", ["pruned.tlt"], "k", "pruned.tlt"),
        ("a.epoch1", ["a.tlt", "a.epoch1.tlt"], "k", "a.epoch1.tlt"),
    ],
)
def test_names_of_tao_find_our_files(tmp_path, asked, there, key, found):
    for name in there:
        (tmp_path / name).write_bytes(b"")
    assert find_model(tmp_path / asked, key) == tmp_path / found


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match=r"There is no model .*/none/a\.tlt\. There are no models in .*/none\.$"):
        find_model(tmp_path / "none" / "a.tlt")
    for number in range(1, 6):
        (tmp_path / f"ssd_resnet18_epoch_{number:03d}.tlt").write_bytes(b"")
    listed = "holds ssd_resnet18_epoch_003.tlt, ssd_resnet18_epoch_004.tlt, ssd_resnet18_epoch_005.tlt and 2 more"
    with pytest.raises(RunError, match=listed):
        find_model(tmp_path / "ssd_resnet18_epoch_080.tlt")
    with pytest.raises(RunError, match="is a folder and no model"):
        find_model(tmp_path)
    with pytest.raises(UsageError, match="The name of the model is empty"):
        find_model(Path())
    with pytest.raises(RunError, match=r"There is no model .*\.tlt"):  # -m $FOLDER/$MODEL.tlt without a $MODEL
        find_model(tmp_path / ".tlt")
    with pytest.raises(UsageError, match="is a folder, so no model can be written to it"):
        named_model(tmp_path, "")


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("p.tlt", "", "p.tlt"),
        ("p.hdf5", "k", "p.hdf5"),
        ("p", "k", "p.tlt"),
        ("p", "", "p.safetensors"),
        ("p.v2", "k", "p.v2.tlt"),
    ],
)
def test_a_name_without_suffix_gets_one(tmp_path, name, key, expected):
    assert named_model(tmp_path / name, key) == tmp_path / expected
    assert model_suffix(key) == (".tlt" if key else ".safetensors")
