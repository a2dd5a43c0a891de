"""What the report calls honoured, code reads: another value of the field makes another job."""

from dataclasses import is_dataclass, replace

import pytest

from tests.tao.test_tao_ssd import FIRST_SPEC, SPEC
from xraycls.errors import SpecError
from xraycls.tao.fields import definitions, holders
from xraycls.tao.networks.ssd import ssd_job
from xraycls.tao.networks.ssd_spec import SSDSpec
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
BASES = (*SSDS, *(text.replace("ssd_config", "dssd_config") for text in SSDS))
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
}


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


def is_read(spec: Spec, field: str) -> bool:
    """Whether some other value of a field makes another job of a spec."""
    try:
        holder = value_at(spec.config, field.rpartition(".")[0])
    except AttributeError:
        return False
    holder = holder[0] if isinstance(holder, tuple) and holder else holder
    if not is_dataclass(holder):
        return False
    job = ssd_job(spec)
    for value in others(field, getattr(holder, field.rpartition(".")[2])):
        try:
            if ssd_job(changed(spec, field, value)) != job:
                return True
        except (SpecError, TypeError, AttributeError):
            continue  # of a form that this field doesn't take
    return False


TABLE = definitions(SSDSpec)
LEAVES = [name for name in TABLE if not any(each.startswith(f"{name}.") for each in TABLE)]
HONOURED = [
    name
    for name in LEAVES
    if next((TABLE[each].support.outcome for each in holders(name) if TABLE[each].support), "honoured") == "honoured"
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    found = []
    for number, text in enumerate(BASES):
        path = tmp_path_factory.mktemp("bases") / f"{number}.txt"
        path.write_text(text)
        found.append(open_spec(path, SSDSpec))
    return found


@pytest.mark.parametrize("field", HONOURED)
def test_a_field_that_is_honoured_changes_the_job(bases, field):
    assert any(is_read(spec, field) for spec in bases), f"{field}: no other value makes another job"


def test_a_field_that_is_ignored_changes_nothing(bases):
    for field in ("ssd_config.mean_color", "training_config.n_workers", "training_config.enable_qat"):
        assert not is_read(bases[0], field)
