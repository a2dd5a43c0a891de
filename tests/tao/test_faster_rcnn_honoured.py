"""What the report calls honoured of a Faster R-CNN's spec, code reads: another value changes what is done."""

from dataclasses import is_dataclass

import pytest

from tests.tao.test_honoured_fields import changed, others
from tests.tao.test_tao_networks import TLT2_FASTER_RCNN
from tests.tao.test_tao_rules import FASTER_RCNN
from xraycls.errors import XrayclsError
from xraycls.tao.fields import definitions, holders
from xraycls.tao.networks.faster_rcnn import FASTER_RCNN as NETWORK
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.programs import open_spec
from xraycls.tao.spec import Spec, value_at
from xraycls.workflows.detection.spec import key_of_spec

MODERN = (
    FASTER_RCNN.replace(
        "output_image_channel: 3 }",
        "output_image_channel: 3 } spatial_augmentation { rotate_rad_max: 0.5 } color_augmentation { }",
    )
    .replace(
        "data_sources {", "validation_data_source { tfrecords_path: '/v' image_directory_path: '/i' } data_sources {"
    )
    .replace(
        "rpn_stride: 16", "rpn_stride: 16 roi_pooling_config { pool_size: 7 } activation { activation_type: 'relu' }"
    )
    .replace(
        "num_epochs: 12",
        "num_epochs: 12 enable_augmentation: true visualizer { enabled: false } "
        "early_stopping { monitor: 'loss' patience: 2 }",
    )
)
STEPS = "gt_matching_iou_threshold_range { start: 0.5 end: 0.9 step: 0.1 }"
SOFT = "soft_start { base_lr: 0.5 start_lr: 0.1 soft_start: 0.1 annealing_points: 0.8 annealing_divider: 2 }"
ADAM = "adam { beta_1: 0.9 beta_2: 0.99 }"
CROP = "preprocessing { crop_left: 1 crop_top: 1 crop_right: 900 crop_bottom: 300 "
BASES = (
    MODERN,
    MODERN.replace("preprocessing {", CROP).replace("resnet:18", "efficientnet:b0"),
    TLT2_FASTER_RCNN.replace("preprocessing {", CROP),
    MODERN.replace("gt_matching_iou_threshold: 0.5", STEPS)
    .replace("step { base_lr: 1e-5 gamma: 1.0 step_size: 30 }", SOFT)
    .replace("sgd { momentum: 0.9 }", ADAM),
    MODERN.replace("image_type: RGB", "image_type: GRAY_SCALE")
    .replace("key: 'b'", "key: 'l'")
    .replace("output_image_channel: 3", "output_image_channel: 1"),
    MODERN.replace("validation_data_source {", "validation_fold: 0 data_sources {"),
    TLT2_FASTER_RCNN.replace("spatial_augmentation {", "color_augmentation { } spatial_augmentation {")
    .replace("num_epochs: 12", "num_epochs: 12 enable_augmentation: true"),
    TLT2_FASTER_RCNN.replace("step { base_lr: 0.00016 gamma: 1.0 step_size: 30 }", SOFT)
    .replace("validation_fold: 0", "validation_data_source { tfrecords_path: '/v' image_directory_path: '/i' }")
    .replace("evaluation_config {", f"evaluation_config {{ {STEPS}"),
    MODERN.replace("output_image_width: 1248 output_image_height: 384 ", ""),
    TLT2_FASTER_RCNN.replace("output_image_width: 1248 output_image_height: 384 ", ""),
    MODERN.replace("{ height: 384 width: 1248 }", "{ }"),
    TLT2_FASTER_RCNN.replace("{ height: 384 width: 1248 }", "{ }"),
)  # fmt: skip
# Read by check_faster_rcnn alone, which refuses what differs: other values have no job.
CHECKED = ("rpn_stride", "output_image_channel", "image_type", "monitor")
TABLE = definitions(FasterRCNNSpec)
LEAVES = [name for name in TABLE if not any(each.startswith(f"{name}.") for each in TABLE)]
HONOURED = [
    name
    for name in LEAVES
    if next((TABLE[each].support.outcome for each in holders(name) if TABLE[each].support), "honoured") == "honoured"
]
VALUES = {
    "classifier_regr_std": [{"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0}],
    "image_channel_mean": [{"b": 1.0, "g": 2.0, "r": 3.0}, {"l": 5.0}],
    "arch": ["resnet:34"],
    "type": ["L1"],
    "annealing_points": [(0.5,)],
    "gt_matching_iou_threshold": [0.4],
    "feature_extractor": ["resnet:34"],
    "image_type": ["GRAY_SCALE"],
    "activation_type": ["swish"],
    "image_extension": ["jpg"],
    "reg_type": ["L1"],
    "resume_from_model": ["/a.epoch_3.hdf5"],
}


def reading(spec: Spec) -> tuple:
    """All that the commands take from a spec."""
    job = NETWORK.job(spec, None)
    parts = [job, NETWORK.inference(spec, None), NETWORK.judged(spec, None), NETWORK.initial_epoch(spec)]
    tasks = [NETWORK.proposals(spec, task) for task in ("evaluation", "inference")]
    return (*parts, *tasks, NETWORK.suppression(spec), files(spec), key_of_spec(spec))


def files(spec: Spec) -> object:
    try:
        return NETWORK.results(spec, None, None)
    except XrayclsError:
        return None


def is_read(spec: Spec, field: str) -> bool:
    holder = spec.config
    try:
        holder = value_at(spec.config, field.rpartition(".")[0]) if "." in field else spec.config
    except AttributeError:
        return False
    holder = holder[0] if isinstance(holder, tuple) and holder else holder
    if not is_dataclass(holder):
        return False
    before, name = reading(spec), field.rpartition(".")[2]
    for value in VALUES.get(name, others(field, getattr(holder, name))):
        try:
            if reading(changed(spec, field, value)) != before:
                return True
        except (XrayclsError, TypeError, AttributeError, ValueError):
            continue
    return False


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    found = []
    for number, text in enumerate(BASES):
        path = tmp_path_factory.mktemp("bases") / f"{number}.txt"
        path.write_text(text)
        found.append(open_spec(path, FasterRCNNSpec))
    return found


def test_fields_that_are_honoured_change_what_is_done(bases):
    assert [
        field for field in HONOURED if not field.endswith(CHECKED) and not any(is_read(spec, field) for spec in bases)
    ] == []
