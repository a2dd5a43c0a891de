"""What the report calls honoured, code reads: another value of the field makes another job."""

from dataclasses import is_dataclass, replace

import pytest

from tests.tao.test_tao_ssd import FIRST_SPEC, SPEC
from tests.workflows.test_yolo_v4_training import SPEC as YOLO_SPEC
from xraycls.errors import SpecError
from xraycls.tao.fields import definitions, holders
from xraycls.tao.networks import NETWORKS
from xraycls.tao.programs import open_spec
from xraycls.tao.spec import Spec, value_at

STOPPING = "num_epochs: 80 early_stopping { monitor: 'loss' patience: 2 } visualizer { enabled: false }"
VALIDATION = "validation_data_sources { label_directory_path: '/v/l' image_directory_path: '/v/i' }\n  data_sources {"
MODERN = (
    SPEC.replace("num_epochs: 80", STOPPING)
    .replace("data_sources {", VALIDATION)
    .replace("training: 10", "training: 1")
)
RANGED = MODERN.replace('scales: "[0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85]"', "min_scale: 0.1 max_scale: 0.9")
RECORDS = MODERN.replace("label_directory_path: '/v/l'", "tfrecords_path: '/v/t'").replace(
    'label_directory_path: "/workspace/data/labels"', 'tfrecords_path: "/workspace/data/t"'
)
SSDS = (MODERN, RANGED, RECORDS, FIRST_SPEC)
TINY = (
    YOLO_SPEC.replace("ROOT", "/r")
    .replace("NETWORK", "freeze_blocks: 0")
    .replace(
        "TRAINING",
        "early_stopping { monitor: 'loss' patience: 2 } visualizer { enabled: false } pretrain_model_path: '/m.tlt'",
    )
)
FULL = (
    TINY.replace(
        'arch: "cspdarknet_tiny"',
        """arch: "resnet" nlayers: 18 small_grid_xy_extend: 0.1
    small_anchor_shape: "[(5,5),(6,6)]" focal_loss_alpha: 0.2 focal_loss_gamma: 1.0""",
    )
    .replace("adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 }", "sgd { momentum: 0.9 }")
    .replace("pretrain_model_path", "pruned_model_path")
    .replace("soft_start_cosine_annealing_schedule", "soft_start_annealing_schedule")
    .replace("soft_start: 0.3", "soft_start: 0.3 annealing: 0.7")
)
LABELS = 'label_directory_path: "/r/labels"'
FOLDED = (
    FULL.replace("sgd { momentum: 0.9 }", "rmsprop { rho: 0.9 epsilon: 1e-7 }")
    .replace("pruned_model_path", "resume_model_path")
    .replace(LABELS, "tfrecords_path: '/r/t'")
    .replace("dataset_config {", "dataset_config { image_extension: 'png'")
)
VALIDATED = "  validation_data_sources { tfrecords_path: '/r/t' image_directory_path: \"/r/images\" }\n"
assert VALIDATED in FOLDED
BASES = {
    "ssd": (*SSDS, *(text.replace("ssd_config", "dssd_config") for text in SSDS)),
    "yolo_v4": (TINY, FULL, FOLDED, FOLDED.replace(VALIDATED, "  validation_fold: 0\n")),
}
# Values of fields whose text is read in a form of its own.
TEXTS = {
    "aspect_ratios": "[[1.0], [1.0], [1.0], [1.0], [1.0], [2.0]]",
    "aspect_ratios_global": "[1.0]",
    "scales": "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]",
    "steps": "[8, 16, 32, 64, 100, 300]",
    "offsets": "[0.4, 0.5, 0.5, 0.5, 0.5, 0.5]",
    "variances": "[0.2, 0.2, 0.2, 0.2]",
    "arch": "squeezenet",
    "monitor": "val_loss",
    "average_precision_mode": "INTEGRATE",
    "type": "L2",
    **dict.fromkeys(("big_anchor_shape", "mid_anchor_shape", "small_anchor_shape"), "[(7, 7), (8, 9)]"),
}
# YOLOv4's monitor can be nothing but "loss".
FIXED = {("yolo_v4", "training_config.early_stopping.monitor")}


def others(field: str, value: object) -> list[object]:
    """Values of a field's type that differ from the one it has."""
    name = field.rpartition(".")[2]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        numbers = [value / 2, value * 1.5, value + 0.1, 0.4, 0.6, 1.5]
        return [each for each in (34, 256, 3, 1, 512, 2, *numbers) if each != value]
    if isinstance(value, dict):
        return [{"b": 1.0, "g": 2.0, "r": 3.0}, {"other": "class"}]
    if isinstance(value, tuple):
        return [(2,)]
    return [TEXTS.get(name, "/another")] if value is not None else [5]


def changed(spec: Spec, field: str, value: object) -> Spec:
    """The spec with another value; in lists of messages, that of the first."""
    holder, _, name = field.rpartition(".")
    inner = value_at(spec.config, holder) if holder else spec.config
    if isinstance(inner, tuple):
        return spec.changed(holder, (replace(inner[0], **{name: value}), *inner[1:]))
    return spec.changed(field, value)


def is_read(network: str, spec: Spec, field: str) -> bool:
    """Whether some other value of a field makes another job of a spec."""
    try:
        holder = value_at(spec.config, field.rpartition(".")[0])
    except AttributeError:
        return False
    holder = holder[0] if isinstance(holder, tuple) and holder else holder
    if not is_dataclass(holder):
        return False
    job_of = NETWORKS[network].job
    job = job_of(spec, None)
    for value in others(field, getattr(holder, field.rpartition(".")[2])):
        try:
            if job_of(changed(spec, field, value), None) != job:
                return True
        except (SpecError, TypeError, AttributeError):
            continue  # of a form that this field doesn't take
    return False


def honoured(network: str) -> list[str]:
    """The fields of a network that are called honoured."""
    table = definitions(NETWORKS[network].spec)
    leaves = [name for name in table if not any(each.startswith(f"{name}.") for each in table)]
    return [
        name
        for name in leaves
        if (network, name) not in FIXED
        and next((table[each].support.outcome for each in holders(name) if table[each].support), "honoured")
        == "honoured"
    ]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    found = {}
    for network, texts in BASES.items():
        folder = tmp_path_factory.mktemp(network)
        for number, text in enumerate(texts):
            (folder / f"{number}.txt").write_text(text)
        found[network] = [open_spec(path, NETWORKS[network].spec) for path in sorted(folder.iterdir())]
    return found


@pytest.mark.parametrize(("network", "field"), [(network, field) for network in BASES for field in honoured(network)])
def test_a_field_that_is_honoured_changes_the_job(bases, network, field):
    assert any(is_read(network, spec, field) for spec in bases[network]), f"{field}: no other value makes another job"


@pytest.mark.parametrize(
    ("network", "field"),
    [
        ("ssd", "ssd_config.mean_color"),
        ("ssd", "training_config.max_queue_size"),
        ("yolo_v4", "yolov4_config.arch_conv_blocks"),
        ("yolo_v4", "class_weighting_config.enable_auto"),
    ],
)
def test_a_field_that_is_ignored_changes_nothing(bases, network, field):
    assert not is_read(network, bases[network][0], field)
