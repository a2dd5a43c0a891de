"""Specs of Faster R-CNN as people write them: all spellings of the text format, and mistakes, a sentence each."""

import re

import pytest

from tests.tao.test_tao_networks import TLT2_FASTER_RCNN
from tests.tao.test_tao_rules import FASTER_RCNN
from xraycls.errors import SpecError
from xraycls.tao.networks.faster_rcnn import FASTER_RCNN as NETWORK
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.programs import open_spec

TLT3 = FASTER_RCNN.replace("num_epochs: 12", "num_epochs: 12 output_model: '/out/frcnn_kitti.tlt'")
TEXTS = {"TAO 5": FASTER_RCNN, "TLT 3": TLT3, "TLT 2": TLT2_FASTER_RCNN}


def line_by_line(text: str) -> str:
    """One field a line, so that every one can be written otherwise."""
    return re.sub(r"(?<=[\w'\"{}])\s+(?=[\w}])", "\n", text)


SPELLINGS = {
    "windows": lambda text: text.replace("\n", "\r\n"),
    "tabs": lambda text: "\ufeff" + text.replace(" ", "\t\t"),
    "no blanks": lambda text: re.sub(r"\s*([{}:])\s*", r"\1", line_by_line(text)),
    "comments": lambda text: line_by_line(text).replace("\n", '  # it\'s "his" { old: <value> }\n'),
    "comment above": lambda text: "# # ' \" {\n#\n" + text,
    "colons": lambda text: re.sub(r"\b(\w+)\s*:?\s*\{", r"\1 : {", text),
    "angles": lambda text: re.sub(r"\b(\w+)\s*:?\s*\{", r"\1 <", text).replace("}", ">"),
    "semicolons": lambda text: re.sub(r"(:\s*[\w.+-]+)\n", r"\1;\n", line_by_line(text)),
    "commas": lambda text: re.sub(r"(:\s*[\w.+-]+)\n", r"\1 ,\n", line_by_line(text)),
    "quotes": lambda text: text.replace("'", '"'),
    "halves": lambda text: re.sub(r"'(\w)(\w*)'", r"'\1' '\2'", text),
    "numbers of enumerations": lambda text: text.replace("image_type: RGB", "image_type: 0").replace("L2 ", "2 "),
    "floats": lambda text: re.sub(r": (\d+\.\d+)(?=\s)", r": \1f", text),
    "lists": lambda text: text.replace("scale: 64 scale: 128", "scale: [64, 128]").replace("e: 64 r", "e: [64] r"),
    "bools": lambda text: text.replace(": True", ": 1"),
    "last of a mapping": lambda text: text.replace(
        "target_class_mapping {", "target_class_mapping { key: 'car' value: 'bus' } target_class_mapping {"
    ),
}


@pytest.fixture
def opened(tmp_path):
    def read(text: str):
        path = tmp_path / "spec.txt"
        path.write_bytes(text.encode())
        return open_spec(path, FasterRCNNSpec)

    return read


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("dialect", TEXTS)
def test_every_spelling_says_the_same(opened, dialect, spelling):
    plain = opened(TEXTS[dialect])
    other = opened(SPELLINGS[spelling](TEXTS[dialect]))
    assert other.config == plain.config
    assert other.dialect == plain.dialect == dialect
    assert NETWORK.job(other, None) == NETWORK.job(plain, None)


def test_weights_of_tlt_3_are_named_by_the_spec(opened, tmp_path):
    assert NETWORK.results(opened(TLT3), None, None).weights(12, ".hdf5").name == "frcnn_kitti.epoch12.hdf5"
    assert NETWORK.results(opened(FASTER_RCNN), None, tmp_path).weights(12, ".hdf5").name == (
        "frcnn_resnet_18.epoch_12.hdf5"
    )


def test_engines_of_tlt_3_are_read(opened):
    etlt = "trt_inference { etlt_model { model: 'a.etlt' calibration_cache: 'cal.bin' } trt_data_type: 'int8' }"
    spec = opened(FASTER_RCNN.replace("inference_config {", f"inference_config {{ {etlt}"))
    assert spec.dialect == "TLT 3"
    assert spec.config.inference_config.trt_inference.etlt_model.model == "a.etlt"


MISTAKES = [
    ("roi_mini_batch: 256", "roi_minibatch: 256", "has no field 'roi_minibatch'. Did you mean 'roi_mini_batch'?"),
    ("roi_mini_batch: 256", "roi_mini_batch: 256 num_epochs: 3", "has no field 'num_epochs'. It belongs in training"),
    ("roi_mini_batch: 256", "roi_mini_batch: 256\n roi_mini_batch: 9", "roi_mini_batch is given twice"),
    ("roi_mini_batch: 256", "roi_mini_batch: many", "roi_mini_batch: a whole number is expected, not many"),
    ("roi_mini_batch: 256", "roi_mini_batch: -1", "roi_mini_batch"),
    ("roi_mini_batch: 256", "roi_mini_batch 256", 'expected ":"'),
    ("num_epochs: 12", "num_epochs: 12 }", "training_config"),
    ("num_epochs: 12", "num_epochs: 1.5", "num_epochs: a whole number is expected, not 1.5"),
    ("num_epochs: 12", "num_epochs: 'x", "num_epochs"),
    ("rpn_min_overlap: 0.3", "rpn_min_overlap: low", "rpn_min_overlap: a number is expected, not low"),
    ("num_epochs: 12", "num_epochs: 12 early_stopping { monitor: 'mAP' patience: 2 }",
     "early_stopping.monitor is 'mAP'; it must be loss"),
    ("num_epochs: 12", "num_epochs: 12 early_stopping { monitor: 'loss' }", "early_stopping.patience is missing"),
    ("num_epochs: 12", "num_epochs: 12 early_stopping { monitor: 'loss' patience: 1 min_delta: -1 }",
     "early_stopping.min_delta is -1"),
    ("num_epochs: 12", "num_epochs: 12 enable_augmentation: yes", "enable_augmentation"),
    ("gt_matching_iou_threshold: 0.5",
     "gt_matching_iou_threshold: 0.5 gt_matching_iou_threshold_range { start: .5 end: .9 step: .1 }",
     "gt_matching_iou_threshold and gt_matching_iou_threshold_range are both given"),
    ("image_type: RGB", "image_type: GREY", "image_type is 'GREY'; it must be one of RGB, GRAY_SCALE"),
    ("image_type: RGB", "image_type: 2", "image_type is 2; it must be one of RGB, GRAY_SCALE"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[each[1][:40] for each in MISTAKES])
def test_every_mistake_is_one_sentence_with_its_line(opened, tmp_path, old, new, message):
    assert FASTER_RCNN.count(old) == 1
    with pytest.raises(SpecError) as caught:
        NETWORK.check(opened(FASTER_RCNN.replace(old, new)))
    said = str(caught.value)
    assert re.match(rf"{re.escape(str(tmp_path / 'spec.txt'))}, line \d+: ", said)
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize("overlap", ["evaluation", "inference", "training"])
def test_as_many_proposals_after_suppression_as_before_are_refused(opened, overlap):
    holder, _, rest = FASTER_RCNN.partition(f"{overlap}_config {{")
    before = int(re.search(r"rpn_pre_nms_top_N: (\d+)", rest)[1])
    wrong = f"{holder}{overlap}_config {{" + re.sub(r"max_boxes: \d+", f"max_boxes: {before}", rest, count=1)
    with pytest.raises(SpecError, match=rf"{overlap}_config.rpn_nms_max_boxes must be below rpn_pre_nms_top_N"):
        NETWORK.check(opened(wrong))
