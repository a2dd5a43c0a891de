"""What 8 bits cost classifiers: AUROC by precision, and how far a file in 8 bits is from its twin in torch.

    python -m benchmarks.int8 --runs runs/kermany/scratch-0 --json benchmarks/results/int8.json
    python -m benchmarks.int8 --data kermany_224 --train ResNet18@64 --untrained torchvision:mobilenet_v2@96=weights.pth

Trained runs (``--runs``), and small networks that are trained from scratch or from weights (``--train``) on 600 films
of ``DATA/train``, with 200 others to validate on. Ranges are chosen on training films; nothing is chosen on validation
or test films, and the test split is looked at once a network. Networks with the features of some weights and a random
last layer (``--untrained``) are in the second table alone.

The second table is of validation films: the largest difference of a logit, in shares of the largest logit, and of a
probability, between the network in fp32 and the one in torch that rounds to 8 bits ("rounding"), and between that one
and its file, computed by onnxruntime as it is written ("file"). It is what the limits of :mod:`xraycls.export.parity`
rest on.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import xraycls
from benchmarks.common import in_sentences, show, write_json
from benchmarks.unlike import SETTINGS, TRAINED, training_table
from xraycls.data.folder import image_files
from xraycls.export.folder import Exported, Source, export_file, export_in_8_bits, export_u8s8
from xraycls.export.quantized import quantized_copy
from xraycls.inference.classification import TrainedModel
from xraycls.inference.inputs import samples_of
from xraycls.inference.load import load_model
from xraycls.inference.runtimes import OnnxRuntime
from xraycls.loaders.recipes.classification import Recipe
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.models.quantization import unquantized
from xraycls.training.run_folder import safe_name
from xraycls.workflows.calibration import COUNT, calibration_pictures
from xraycls.workflows.export import pictures_for
from xraycls.workflows.run_data import run_table
from xraycls.workflows.validation import Validation

SPLITS, PRECISIONS = ("val", "test"), ("fp16", "int8", "u8s8")
COMPARED = 100
"""Validation films of the second table."""

Floats = npt.NDArray[np.float32]


def main() -> None:
    """Train where asked, export, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="trained run folders with a test split")
    parser.add_argument("--data", type=Path, help="holds train/CLASS and test/CLASS")
    parser.add_argument(
        "--train", nargs="*", default=[], help="NAME@SIZE or NAME@SIZE=WEIGHTS: networks to train on DATA"
    )
    parser.add_argument("--untrained", nargs="*", default=[], help="NAME@SIZE=WEIGHTS: features of other pictures")
    parser.add_argument("--method", default="entropy", help="how ranges are chosen")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS)
    parser.add_argument("--gate", type=float, default=1.0, help="leave the test out where int8 falls by more on val")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="beside fp32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        runs = {run.name: run for run in given.runs}
        for network in given.train:
            runs[network.partition("=")[0]] = trained(network, given.data, Path(name))
        for label, run in runs.items():
            found[label] = measured(run, Path(name) / "exported" / safe_name(label), given)
        for network in given.untrained:
            label = network.partition("=")[0]
            folder = Path(name) / "untrained" / safe_name(label)
            found[label] = {"apart": rounded(network, given.data, folder, given.method)}
    tell(found)
    write_json(given.json, {"method": given.method, "networks": found})


def trained(network: str, data: Path, folder: Path) -> Path:
    """Train a network on some films; the run's test split is the official one."""
    name, size, weights = parts(network)
    drawn = random.Random(0)
    table = training_table(data, folder / "films.csv", drawn)
    films = [f"{film},{film.parent.name},test\n" for film in image_files(data / "test")]
    table.write_text(table.read_text() + "".join(films))
    with xraycls.TrainingProgress() as reporter:
        return xraycls.train(
            data=table,
            output=folder / f"{safe_name(name)}-{size}",
            base_model=name,
            weights=weights or "none",
            size=size,
            reporter=reporter,
            **SETTINGS,  # type: ignore[arg-type]
        ).run.path


def measured(run: Path, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Returns AUROC by split and precision, and the differences of the second table."""
    model = load_model(run)
    assert isinstance(model, TrainedModel)
    assert model.run is not None
    table = run_table(model.run.read_config())
    source = Source(model=model.classifier, recipe=model.recipe, weights=model.weights, threshold=model.threshold)
    training = list(table.split("train"))
    pictures = calibration_pictures(training, model.recipe, min(COUNT, len(training)), list(table.split("test")))
    films = pictures_for(model.recipe, list(table.split("val")), COMPARED)
    twin = replace(source, model=quantized_copy(source.model, pictures, given.method))
    notes: dict[str, Any] = {"method": given.method, "images": len(pictures)}
    whole, int8 = export_in_8_bits(twin, folder, films[:5], notes)
    files = {"fp32": whole, "int8": int8}
    if "fp16" in given.precisions:
        files["fp16"] = export_file(source, folder, films[:5], precision="fp16")
    if "u8s8" in given.precisions:
        notes = {**notes, "method": "max"}
        notes["in_floating_point"] = unquantized(twin.model.net)
        files["u8s8"] = export_u8s8(source, whole, films[:5], pictures, notes)
    auroc: dict[str, dict[str, float]] = {}
    for split in given.splits:
        if split == "test" and "val" in auroc and auroc["val"]["fp32"] - auroc["val"]["int8"] > given.gate:
            continue
        auroc[split] = {precision: Validation(table.split(split)).score(file) for precision, file in files.items()}
    return {
        "calibration": len(pictures),
        "in_floating_point": int8.file.quantization["in_floating_point"],
        "films": {split: len(table.split(split)) for split in auroc},
        "auroc": auroc,
        "apart": apart(twin, whole, int8, films),
    }


def rounded(network: str, data: Path, folder: Path, method: str) -> dict[str, Any]:
    """Returns the differences of the second table for a network whose last layer is random."""
    name, size, weights = parts(network)
    torch.manual_seed(0)
    classifier, _ = build_classifier(name, ("NORMAL", "PNEUMONIA"), weights=weights, size=size)
    films = list(image_files(data / "train"))
    random.Random(0).shuffle(films)
    pictures = pictures_for(Recipe(size), samples_of(films[: TRAINED + COMPARED]), TRAINED + COMPARED)
    twin = quantized_copy(classifier.eval(), pictures[:TRAINED], method)
    path = folder / "model.safetensors"
    save_classifier(classifier, path)
    source = Source(model=twin, recipe=Recipe(size), weights=path)
    whole, int8 = export_in_8_bits(source, folder, pictures[-5:], {"method": method, "images": TRAINED})
    return apart(source, whole, int8, pictures[TRAINED:])


def parts(network: str) -> tuple[str, int, str]:
    """Returns name, size and weights of NAME@SIZE=WEIGHTS."""
    name, _, weights = network.partition("=")
    name, _, size = name.partition("@")
    return name, int(size), weights


def apart(twin: Source, whole: Exported, int8: Exported, films: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Returns what rounding moves on some films, and what the file is off the twin in torch."""
    with torch.no_grad():
        rounded = np.concatenate([twin.model(torch.from_numpy(each)).numpy() for each in np.split(films, len(films))])
    plain, written = (logits(file, films, written) for file, written in ((whole, False), (int8, True)))
    scale = float(np.abs(rounded).max())
    found: dict[str, Any] = {"films": len(films)}
    for name, ours, theirs in (("rounding", rounded, plain), ("file", written, rounded)):
        found[name] = {
            "logit": float(np.abs(ours - theirs).max()) / scale,
            "probability": float(np.abs(softmax(ours) - softmax(theirs)).max()),
            "decisions": int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
        }
    return found


def logits(file: Exported, films: npt.NDArray[np.uint8], as_written: bool) -> Floats:
    """Returns the logits of a file, one film at a time."""
    session = OnnxRuntime(file.path, precision="auto", threads=1, device="cpu", as_written=as_written)
    return np.concatenate([session.run(film[None])["logits"] for film in films])


def softmax(values: Floats) -> Floats:
    """Returns the probabilities of logits [n, C]."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def tell(found: dict[str, Any]) -> None:
    """Print the tables."""
    rows = [
        (label, split, str(each["films"][split]), precision, f"{value:.4f}", f"{value - figures['fp32']:+.4f}")
        for label, each in found.items()
        for split, figures in each.get("auroc", {}).items()
        for precision, value in figures.items()
    ]
    if rows:
        show("AUROC", ("network", "split", "films", "precision", "AUROC", "against fp32"), rows)
    kinds = ("logit", "probability", "decisions")
    rows = [
        (label, *(f"{each['apart'][what][kind]:.2g}" for what in ("rounding", "file") for kind in kinds))
        for label, each in found.items()
    ]
    header = ("network", *(f"{what}: {kind}" for what in ("rounding", "file") for kind in kinds))
    show("Largest differences, and films decided otherwise", header, rows)


if __name__ == "__main__":
    in_sentences(main)
