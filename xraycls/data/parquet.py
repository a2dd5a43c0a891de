"""Data sets of the Hugging Face hub on disk: Parquet shards that hold the pictures' files beside their labels.

The only file that imports pyarrow, which reads columns and runs nothing. A picture is one row of a column of bytes;
rows are read a row group at a time, and the last groups are kept, so that reading in order decodes each once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xraycls.data.csv import COLUMNS, label_name
from xraycls.data.files import is_special
from xraycls.data.findings import LABELS, Value, cell_value, listed_findings, values_of_lists
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.records import plain
from xraycls.data.spelling import in_order, is_healthy
from xraycls.data.split import split_of_folder
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, MissingExtra
from xraycls.types import Sample, Split

SUFFIX = ".parquet"
_KEPT = 8  # row groups; those of images have about a hundred rows
_LABELS = frozenset(map(plain, (*COLUMNS["label"], "labels", "finding_labels")))


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the columns of a data set hold.

    Attributes:
        picture: the column of the pictures.
        label: the column of the labels; None where single columns tell findings.
        names: of the classes that whole numbers in it mean; empty where it holds text.
        is_list: whether it lists several labels a picture.
        patient: the column of the patient; None without one.
        split: the column of the split; None without one.
    """

    picture: str
    label: str | None
    names: tuple[str, ...]
    is_list: bool
    patient: str | None
    split: str | None


def is_parquet(path: Path) -> bool:
    """Whether a file or folder is a data set of Parquet shards."""
    return bool(_shards(path))


def read_parquet(path: Path, *, options: ReadOptions = AS_IT_IS) -> SampleTable:
    """Read a Parquet file, or the folder that holds the shards of a data set.

    Columns are found by type: the pictures are structures with ``bytes``, or bytes alone; the labels are a column of
    a usual name that holds text, numbers with names in the hub's description, or lists of these, which are findings.
    With ``options.labels`` columns of 0 and 1 tell findings. Splits come from a column, else from the shards' names.

    Args:
        path: a ``.parquet`` file or a folder.
        options: columns that the user names.

    Raises:
        MissingExtra: pyarrow isn't installed.
        DataError: no column holds pictures or labels, a cell is no label, or a file is damaged.
    """
    shards = _shards(path)
    root = path if path.is_dir() else path.parent
    columns = _columns(_opened(shards[0]), shards[0], options)
    rows = [(shard, row, cells) for shard in shards for row, cells in enumerate(_rows(shard, columns))]
    if not rows:
        raise DataError(f"{path} has no rows", path)
    findings, values, labels = _labels(path, [cells for *_, cells in rows], columns, options)
    classes = LABELS if findings else in_order({label for label in labels if label})
    index = {name: number for number, name in enumerate(classes)}
    taken = {columns.label, columns.patient, columns.split}
    samples = [
        Sample(
            shard,
            label=index.get(label),
            patient=_text(cells.get(columns.patient or "")) or None,
            split=_split(cells.get(columns.split or ""), shard, root),
            member=columns.picture,
            row=row,
            attributes=tuple((n, _text(c)) for n, c in cells.items() if n not in taken and _text(c)),
            findings=found,
        )
        for (shard, row, cells), found, label in zip(rows, values, labels, strict=True)
    ]
    return SampleTable(tuple(samples), classes, root, "parquet", findings=findings)


def picture_in_parquet(sample: Sample) -> bytes:
    """The file of a picture in a shard; raises DataError where there is none."""
    column, row = sample.member or "", sample.row or 0
    file = _opened(sample.path)
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < first + count:
            value = _group(sample.path, group, column)[row - first].as_py()
            encoded = value.get("bytes") if isinstance(value, dict) else value
            if not encoded:
                raise DataError(f"Row {row} of {sample.path} holds no picture", sample.path)
            return bytes(encoded)
        first += count
    raise DataError(f"{sample.path} has no row {row}", sample.path)


def _shards(path: Path) -> list[Path]:
    if path.suffix.lower() == SUFFIX:
        return [path]
    return sorted(file for file in path.rglob("*.parquet") if not is_special(file)) if path.is_dir() else []


@lru_cache(maxsize=64)
def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet") from error
    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} could not be read as Parquet: {error}", path) from error


@lru_cache(maxsize=_KEPT)
def _group(path: Path, group: int, column: str) -> Any:
    from pyarrow import ArrowException

    try:
        return _opened(path).read_row_group(group, columns=[column]).column(0)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} could not be read as Parquet: {error}", path) from error


def _rows(shard: Path, columns: _Columns) -> Iterator[Mapping[str, Any]]:
    """The cells of every row but the picture's."""
    from pyarrow import ArrowException

    file = _opened(shard)
    names = [name for name in file.schema_arrow.names if name != columns.picture]
    if columns.picture not in file.schema_arrow.names:
        raise DataError(f"{shard} has no column {columns.picture}, as its first shard has", shard)
    if not names:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    try:
        for batch in file.iter_batches(columns=names):
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{shard} could not be read as Parquet: {error}", shard) from error


def _columns(file: Any, shard: Path, options: ReadOptions) -> _Columns:
    from pyarrow import types

    schema = file.schema_arrow
    described = _described(schema.metadata or {})

    def is_picture(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(at).name == "bytes" for at in range(kind.num_fields))
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    pictures = [field.name for field in schema if is_picture(field.type)]
    if not pictures:
        raise DataError(
            f"{shard} has no column of pictures; it has: {', '.join(schema.names)}",
            shard,
            "Such a column holds bytes, or structures with bytes",
        )
    named = options.columns
    roles = {role: _named(schema.names, aliases, named.get(role), shard, role) for role, aliases in COLUMNS.items()}
    label = named.get("label") or next((n for n in schema.names if plain(n) in _LABELS and n not in pictures), None)
    if label is None and not options.labels:
        raise DataError(
            f"{shard} has no column of labels; it has: {', '.join(schema.names)}",
            shard,
            "Name it with --label-column, or columns of 0 and 1 with --labels",
        )
    is_list = label is not None and bool(
        types.is_list(schema.field(label).type) or types.is_large_list(schema.field(label).type)
    )
    picture = named.get("path") or pictures[0]
    return _Columns(picture, label, described.get(label or "", ()), is_list, roles["patient"], roles["split"])


def _named(header: Sequence[str], aliases: Sequence[str], chosen: str | None, shard: Path, role: str) -> str | None:
    if chosen is not None:
        if chosen not in header:
            raise DataError(f"{shard} has no column {chosen!r}; it has: {', '.join(header)}", shard, f"--{role}-column")
        return chosen
    wanted = {plain(alias) for alias in aliases}
    return next((name for name in header if plain(name) in wanted), None)


def _described(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """The names of classes that the hub's description gives for each column of whole numbers."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        found = {}
        for column, feature in features.items():
            inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
            inner = inner[0] if isinstance(inner, list) and inner else inner
            if isinstance(inner, dict) and isinstance(inner.get("names"), list):
                found[column] = tuple(map(str, inner["names"]))
        return found
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}


def _labels(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: _Columns, options: ReadOptions
) -> tuple[tuple[str, ...], list[tuple[Value, ...]], list[str]]:
    """The findings, what each row says of them, and its one label."""
    if options.labels and not columns.is_list:
        by_plain = {plain(name): name for name in rows[0]}
        names = options.label_columns
        if lacking := [name for name in names if plain(name) not in by_plain]:
            raise DataError(f"{path} has no column {lacking[0]!r}; it has: {', '.join(rows[0])}", path)
        try:
            values = [tuple(cell_value(_text(r[by_plain[plain(n)]]), options.blank) for n in names) for r in rows]
        except ValueError as error:
            raise DataError(
                f"{path} has {error.args[0]!r} in a column of --labels, which is no label of a finding",
                path,
                "Its cells are 1, 0, -1 for uncertain, or empty",
            ) from None
        return names, values, [label_name(each) for each in values]
    cells = [row[columns.label or ""] for row in rows]
    if columns.is_list or options.label_separator:
        lists = [_listed(cell, columns.names, options.label_separator) for cell in cells]
        names, values = values_of_lists(lists, [name for name in columns.names if not is_healthy(name)])
        return names, values, [label_name(each) for each in values]
    return (), [()] * len(rows), [_class(cell, columns.names) for cell in cells]


def _listed(cell: Any, names: Sequence[str], separator: str | None) -> frozenset[str] | None:
    if cell is None:
        return None
    if isinstance(cell, str):
        return listed_findings(cell, separator or "|")
    named = frozenset(_class(each, names) for each in cell)
    return frozenset(name for name in named if name and not is_healthy(name))


def _class(cell: Any, names: Sequence[str]) -> str:
    if names and isinstance(cell, int) and 0 <= cell < len(names):
        return names[cell]
    return _text(cell)


def _text(cell: Any) -> str:
    if cell is None or isinstance(cell, list | dict | bytes):
        return ""
    return str(int(cell) if isinstance(cell, bool) else cell).strip()


def _split(cell: Any, shard: Path, root: Path) -> Split | None:
    """The split of a column, else of the shard's name or folder: ``data/validation-00000-of-00001.parquet``."""
    if cell is not None:
        return split_of_folder(_text(cell))
    parts = (shard.stem.partition("-")[0], *(part for part in shard.relative_to(root).parts[:-1]))
    return next((split for split in map(split_of_folder, parts) if split), None)
