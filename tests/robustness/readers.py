"""Every reader of the package, each with small sound files that it reads."""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pydicom.data
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file

from tests.robustness.fuzz import Reader
from tests.robustness.mutations import of_json, of_records, of_safetensors, of_state, of_zip
from xraycls.data import parquet
from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.open import open_dicom
from xraycls.data.download.extract import unpack
from xraycls.data.formats import FORMATS
from xraycls.data.formats.convert import convert
from xraycls.data.headers import header_of
from xraycls.data.identity import identities, known_among, read_identities
from xraycls.data.open import open_image
from xraycls.data.options import ReadOptions
from xraycls.data.phantom import write_phantom
from xraycls.data.phantom.manifest import Manifest
from xraycls.data.prepare import prepare
from xraycls.data.source import read_table
from xraycls.data.store import read_store
from xraycls.evaluation.recalibration import StepMap
from xraycls.inference.adjust import Calibration, read_calibration, write_calibration
from xraycls.inference.ensemble_file import EnsembleFile, read_ensemble
from xraycls.models.classifier import build_classifier, load_classifier, save_classifier
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.registry import build_detector, parse_detector_config
from xraycls.models.keras_file import read_keras_file
from xraycls.models.weight_files import read_weights
from xraycls.tao.dataset_convert.run import dataset_convert
from xraycls.tao.mounts import read_mounts
from xraycls.tao.networks import NETWORKS
from xraycls.tao.programs import open_checked
from xraycls.training.checkpoint import load_state, save_state
from xraycls.training.config import TrainConfig, read_config
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample

EXAMPLES = Path(__file__).parents[2] / "examples"
DETECTOR = {"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64, "classes": ["opacity"]}


def all_readers(folder: Path) -> list[Reader]:
    """Readers with files in a folder, which is made."""
    phantom = folder / "phantom"
    write_phantom(phantom, images=6, seed=0)
    made = (_pictures, _tables, _formats, _findings, _stores, _settings, _runs, _weights, _archives)
    return [reader for make in made for reader in make(folder, phantom)]


def _pictures(folder: Path, phantom: Path) -> Sequence[Reader]:
    grey = np.tile(np.arange(48, dtype=np.uint8) * 5, (40, 1))
    pictures = folder / "pictures"
    pictures.mkdir()
    for suffix in ("jpg", "png", "bmp", "tif", "webp", "jp2"):
        cv2.imwrite(str(pictures / f"eight.{suffix}"), grey)
    cv2.imwrite(str(pictures / "sixteen.png"), grey.astype(np.uint16) * 257)
    PillowImage.fromarray(grey).convert("P").save(pictures / "palette.png")
    PillowImage.fromarray(grey).save(pictures / "packed.tif", compression="tiff_lzw")

    def picture(file: Path) -> None:
        header_of(Sample(file))
        open_image(Sample(file)).pixels()

    names = ("CT_small MR_small MR_small_RLE image_dfl JPEG2000 SC_rgb_jpeg_dcmtk MR_small_jpeg_ls_lossless").split()
    films = folder / "dicom"
    films.mkdir()
    for name in (*names, "SC_rgb_small_odd_jpeg", "examples_palette", "MR_small_bigendian"):
        source = Path(str(pydicom.data.get_testdata_file(f"{name}.dcm", download=False)))
        (films / f"{name}.dcm").write_bytes(source.read_bytes())

    def film(file: Path) -> None:
        read_header(file)
        open_dicom(file).pixels()

    return [
        Reader("images", sorted(pictures.iterdir()), picture, weight=3),
        Reader("DICOM", sorted(films.iterdir()), film, weight=3),
    ]


def _tables(folder: Path, phantom: Path) -> Sequence[Reader]:
    below = folder / "tables"
    below.mkdir()
    files = sorted(p for p in phantom.rglob("*") if p.suffix in (".jpeg", ".jpg", ".png"))
    rows = [
        f"{file.relative_to(folder)},{('NORMAL', 'PNEUMONIA')[n % 2]},p{n // 2},{('train', 'val')[n % 2]},{n % 3}"
        for n, file in enumerate(files)
    ]
    (below / "table.csv").write_text("path,label,patient,split,fold\n" + "\n".join(rows))
    (below / "excel.csv").write_text("sep=;\n" + "path;label\n" + "\n".join(";".join(r.split(",")[:2]) for r in rows))
    named = [f"p{n} {file.relative_to(folder)} {('a', 'b')[n % 2]} cohen\n" for n, file in enumerate(files)]
    listing = "".join(named)
    (below / "listing.txt").write_text(listing)

    def table(file: Path) -> None:
        read_table(file, images=folder)

    def folds(file: Path) -> None:
        read_table(file, images=folder, options=ReadOptions(split_column="fold", fold=1))

    return [
        Reader("CSV tables", sorted(below.iterdir()), table, weight=2),
        Reader("CSV folds", [below / "table.csv"], folds),
    ]


def _formats(folder: Path, phantom: Path) -> Sequence[Reader]:
    readers = []
    for name, each in FORMATS.items():
        if each.write is None:
            continue
        target = folder / name
        convert(phantom, target, to=name, pictures="copy")
        suffixes = {".csv", ".json", ".txt", ".yaml", ".xml"}
        files = sorted(p for p in target.rglob("*") if p.suffix in suffixes and p.name != "pictures.csv")
        mutation: Any = of_json if name == "coco" else None
        reader = Reader(f"boxes: {each.title}", [f for f in files if f.name != "converted.json"], _read_below(target))
        readers.append(replace(reader, mutation=mutation) if mutation else reader)
    readers.append(_records(folder))
    mark = [folder / "kitti" / "converted.json"]
    readers.append(Reader("converted.json", mark, _read_below(folder / "kitti"), of_json, 0.5))
    return readers


def _read_below(target: Path) -> Callable[[Path], None]:
    def read(file: Path) -> None:
        for sample in read_table(target):
            _ = sample.boxes

    return read


def _records(folder: Path) -> Reader:
    spec = folder / "convert.txt"
    kitti = folder / "kitti"
    pictures = next(p.parent for p in kitti.rglob("*") if p.suffix in (".jpeg", ".jpg", ".png"))
    labels = next(p.parent for p in kitti.rglob("*.txt"))
    spec.write_text(
        f'kitti_config {{ root_directory_path: "{kitti}" image_dir_name: "{pictures.relative_to(kitti)}" '
        f'label_dir_name: "{labels.relative_to(kitti)}" image_extension: "{next(pictures.iterdir()).suffix}" '
        'partition_mode: "random" num_partitions: 2 val_split: 20 num_shards: 1 }\n'
        f'image_directory_path: "{kitti}"\n'
    )
    records = folder / "records"
    records.mkdir()
    dataset_convert(spec, records / "tf")
    files = [p for p in records.iterdir() if "fold" in p.name and not p.suffix]

    def read(file: Path) -> None:
        for sample in FORMATS["tfrecords"].read(records, images=kitti):
            _ = sample.boxes

    return Reader("TFRecords", files, read, of_records)


def _findings(folder: Path, phantom: Path) -> Sequence[Reader]:
    reports = folder / "openi" / "ecgen-radiology"
    reports.mkdir(parents=True)
    film = next(phantom.rglob("*.jpeg")).read_bytes()
    cv2.imwrite(str(reports.parent / "CXR1_1.png"), np.zeros((8, 8), np.uint8))
    terms = "<MeSH><major>Cardiomegaly/mild</major><major>Opacity</major></MeSH>"
    film_of = '<parentImage id="CXR1_1"><caption>PA and lateral</caption></parentImage>'
    (reports / "1.xml").write_text(f"<eCitation>{terms}{film_of}</eCitation>")
    shards = folder / "parquet"
    shards.mkdir()
    columns = {"image": [{"bytes": film, "path": "a.jpeg"}] * 3, "label": ["a", "b", "a"], "patient": [1, 2, 2]}
    pyarrow.parquet.write_table(pyarrow.table(columns), shards / "train.parquet")

    def openi(file: Path) -> None:
        read_table(file.parents[1])

    def parquet_shard(file: Path) -> None:
        parquet._opened.cache_clear()
        parquet._group.cache_clear()
        open_image(read_table(file)[0]).pixels()

    return [
        Reader("reports of Open-i", [reports / "1.xml"], openi),
        Reader("Parquet", [shards / "train.parquet"], parquet_shard),
    ]


def _stores(folder: Path, phantom: Path) -> Sequence[Reader]:
    store = folder / "store"
    prepare(phantom, store, size=16)

    def read(file: Path) -> None:
        for sample in read_store(store):
            open_image(sample).pixels()

    arrays = {
        f"{split}_{kind}": np.zeros((3, 8, 8), np.uint8) if kind == "images" else np.array([[0], [1], [0]], np.uint8)
        for split in ("train", "val", "test")
        for kind in ("images", "labels")
    }
    np.savez(folder / "pneumoniamnist.npz", **arrays)

    def medmnist(file: Path) -> None:
        for sample in read_table(file):
            open_image(sample).pixels()

    def manifest(file: Path) -> None:
        Manifest.load(file.parent)

    return [
        Reader("store.json", [store / "store.json"], read, of_json),
        Reader("pixels.npy", [store / "pixels.npy"], read),
        Reader("MedMNIST .npz", [folder / "pneumoniamnist.npz"], medmnist, of_zip),
        Reader("phantom manifest", [next(phantom.glob("*.json"))], manifest, of_json, 0.5),
    ]


def _settings(folder: Path, phantom: Path) -> Sequence[Reader]:
    below = folder / "settings"
    below.mkdir()
    TrainConfig().write(below / "classifier.yaml")
    DetectionJob.parse({"detector": DETECTOR, "data": str(phantom)}).write(below / "detector.yaml")
    (below / ".tao_mounts.json").write_text(
        json.dumps({"Mounts": [{"source": "/a", "destination": "/b"}], "Envs": [{"variable": "A", "value": "B"}]})
    )
    for name in ("siim_ssd", "yolo_v4"):
        (below / f"{name}.txt").write_bytes((EXAMPLES / name / "train.txt").read_bytes())

    def mounts(file: Path) -> None:
        read_mounts(folder=below, home=below)

    def spec(file: Path) -> None:
        program = "ssd" if file.stem == "siim_ssd" else "yolo_v4"
        checked = open_checked(file, program)
        job = NETWORKS[program].job
        if job:
            job(checked, read_mounts(folder=folder, home=folder))

    return [
        Reader("config.yaml of a classifier", [below / "classifier.yaml"], read_config),
        Reader("config.yaml of a detector", [below / "detector.yaml"], DetectionJob.read),
        Reader("mounts JSON", [below / ".tao_mounts.json"], mounts, of_json),
        Reader("specs of TAO", sorted(below.glob("*.txt")), spec, weight=2),
    ]


def _runs(folder: Path, phantom: Path) -> Sequence[Reader]:
    run = RunFolder(folder / "run")
    TrainConfig().write(run.config)
    table = read_table(phantom)
    run.write_samples(table)
    run.write_environment({"engine": "torch", "dataset": "0", "classes": ["a", "b"], "processes": 1})
    run.write_metrics([{"epoch": 1.0, "train_loss": 0.5, "val_auroc": float("nan")}])
    state = {
        "epoch": 1,
        "step": 0,
        "plateaus": 0,
        "model": {"a": torch.zeros(3)},
        "optimizer": {"state": {}, "groups": [1, 2.0]},
        "rows": [{}],
    }
    save_state(state, run.state)
    seen = run.path / "seen.safetensors"
    identities(table.samples).write(seen)

    weights = run.path / "classifier.safetensors"
    save_file({"a": torch.zeros(1)}, weights)
    calibration = write_calibration(
        Calibration(
            classes=("a", "b"),
            method="isotonic",
            maps=(StepMap((-1.0, 1.0), (0.2, 0.9)),) * 2,
            data="site",
            images=9,
            prevalence=(0.5, None),
            date="2026",
        ),
        weights,
    )
    ensemble = EnsembleFile(("fold-1", "fold-2"), (0.25, 0.75), thresholds={"mass": 0.5}).write(run.path)

    def recognise(file: Path) -> None:
        if known := read_identities(file):
            known_among(known, known)

    return [
        Reader("environment.json", [run.environment], lambda file: run.read_environment(), of_json),
        Reader("samples.csv", [run.samples], lambda file: run.read_samples()),
        Reader("metrics.csv", [run.metrics], lambda file: run.read_metrics()),
        Reader("training state .pt", [run.state], load_state, of_state),
        Reader("calibration", [calibration], lambda file: read_calibration(weights), of_json),
        Reader("ensemble.json", [ensemble], lambda file: read_ensemble(file.parent), of_json),
        Reader("seen.safetensors", [seen], recognise, of_safetensors),
    ]


def _weights(folder: Path, phantom: Path) -> Sequence[Reader]:
    below = folder / "weights"
    below.mkdir()
    classifier, _ = build_classifier("torchvision:squeezenet1_1", ("a", "b"), weights="none", size=32)
    save_classifier(classifier, below / "classifier.safetensors", extra={"threshold": "0.5"})
    detector = build_detector(parse_detector_config(DETECTOR))
    save_detector(detector, below / "detector.safetensors")
    save_detector(detector, below / "detector.tlt", key="key")
    small = {"fc.weight": torch.zeros(4, 3), "fc.bias": torch.zeros(4)}
    torch.save({"state_dict": small, "epoch": 3}, below / "new.pth")
    torch.save(small, below / "old.pth", _use_new_zipfile_serialization=False)
    save_file(small, below / "others.safetensors", {"format": "pt"})
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    torch.save({"model": network, "epoch": 3}, below / "new.network")
    torch.save(network, below / "old.network", _use_new_zipfile_serialization=False)
    with h5py.File(below / "keras.hdf5", "w") as file:
        conv = {"class_name": "Conv2D", "config": {"name": "conv"}, "inbound_nodes": [[["image", 0, 0, {}]]]}
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"name": "m", "layers": [conv]}})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv"]
        group.create_group("conv").attrs["weight_names"] = [b"conv/kernel:0"]
        group["conv"]["conv/kernel:0"] = np.zeros((3, 3, 1, 4), np.float32)

    def sealed(file: Path) -> None:
        load_detector(file, key="key")

    return [
        Reader("classifier", [below / "classifier.safetensors"], load_classifier, of_safetensors, 0.3),
        Reader("detector", [below / "detector.safetensors"], load_detector, of_safetensors, 0.3),
        Reader("detector under a key", [below / "detector.tlt"], sealed, weight=0.3),
        Reader("weights of others", sorted(below.glob("*.pth")), read_weights, of_zip),
        Reader("pickled networks", sorted(below.glob("*.network")), read_weights, of_zip),
        Reader("safetensors of others", [below / "others.safetensors"], read_weights, of_safetensors),
        Reader("Keras .hdf5", [below / "keras.hdf5"], read_keras_file, weight=0.02),
    ]


def _archives(folder: Path, phantom: Path) -> Sequence[Reader]:
    archive = folder / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a/one.txt", "one" * 50)
        bundle.writestr("a/two.txt", bytes(2000))
    return [Reader("zip archives", [archive], lambda file: unpack(file, folder / "unpacked"), of_zip)]
