"""Pictures that lie beside radiographs and are none: masks, thumbnails, previews, heat maps and overlays."""

from __future__ import annotations

import io
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from xraycls.data.files import readable_name
from xraycls.data.image import JPEG_MAGIC, jpeg_frame
from xraycls.data.processors import available_processors, in_threads, in_threads_if_slow, pool_size

logger = logging.getLogger(__name__)

_WORDS = {
    "mask": "mask masks groundtruth gt segmentation segmentations seg segs label_map labelmap contour contours",
    "thumbnail": "thumb thumbs thumbnail thumbnails preview previews",
    "heat map": "heatmap heatmaps cam cams gradcam saliency attention overlay overlays activation activations",
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# What two words mean together, once joined: "heat map", "grad-cam", "ground truth".
_JOINED = {"heatmap", "heatmaps", "gradcam", "groundtruth", "labelmap"}
# Words that say which mask it is; a name of nothing else beside them is one of a mask.
_ANATOMY = frozenset(
    "lung lungs left right infection infections heart clavicle clavicles rib ribs bone binary manual auto pred lesion "
    "lesions opacity pneumothorax covid img image images all merged combined full final clean png jpg tif dcm".split()
)
_SIZED_COPY = re.compile(r"(.+?)[-_ ](\d{2,4})x(\d{2,4})$")  # photo-150x150.jpg, as content systems write them

_TINY, _LARGE = 64, 200  # pixels of the longer side: of thumbnails, and of the pictures that they are of
_SMALLER = 0.5  # side of a thumbnail, of that of its film
_SPARSE = 0.35  # bytes a pixel of a mask, of those of the films
_LEVELS = 8  # grey values of a label map at most
_APART = 100  # grey levels between the two of a lossy one
_ENDS = 16  # grey levels that a lossy format leaves around each
_BETWEEN = 0.03  # of a lossy label map's pixels at most lie between them
_COLOURFUL = 20.0  # mean chroma of a heat map, grey levels
_HEAD = 4096  # bytes of a file within which the size of most JPEGs stands
_LOOK = (256, 256)  # pixels that a look at a JPEG needs
_GLANCE = (128, 128)  # pixels for one at its first quarter, where edges may blur to twice their width
_JPEG_END, _ABSENT = b"\xff\xd9", 128  # marker, and grey level of what a decoder finds nothing for
_SCAN = b"\xff\xda"  # marker, behind all others
_SAMPLE = 2**16  # bytes from a file's middle
_LAGS = range(3, 9)  # bytes after which whole flat blocks come again, of three to eight bits each
_REPEATED = 0.012  # share of bytes that do: some 0.006 in films, at least 0.024 in label maps of few bytes a pixel
_OTHER_MARKERS = re.compile(rb"\xff[\xc2\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xdd]")  # not sequential, or cut into intervals
_COPY = 0.97  # correlation of a thumbnail with its film
_BULKY = ("BMP", "PPM", "SUN")  # formats without compression, whose bytes tell nothing
_WAITING = 16


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture's longer side, bytes a pixel, whether it is stored in colour, and its format."""

    side: int
    density: float
    colour: bool
    format: str | None


def set_aside(files: Sequence[Path], root: Path, groups: Sequence[str] | None = None) -> dict[Path, str]:
    """The pictures that are no radiographs, each with its kind: "mask", "thumbnail" or "heat map".

    Names tell: a folder called ``masks`` or ``lung masks`` below the root, a file called ``x_mask.png`` or
    ``CAM_ResNet.jpg``. So does the content beside a film of the same name in another folder, or among larger films: two
    grey values, a few pixels, or bright colours. A set of nothing but such pictures is what it is, so content alone
    never takes more than half.

    Args:
        files: pictures of one data set.
        root: its folder; names above it tell nothing.
        groups: the class of each, as films of two classes may share a name; None where there are no classes.
    """
    of_folder = cache(lambda folder: _folder_kind(_below(folder, root)))
    aside = {file: kind for file in files if (kind := of_folder(file.parent) or _file_kind(file.stem))}
    films = [file for file in files if file not in aside]
    looks = _looks(films)
    group_of = dict(zip(files, groups, strict=True)) if groups is not None else {}
    suspects = _suspects(looks, _twins(list(looks), group_of))
    kinds = in_threads(lambda file: _shown(file, suspects[file]), list(suspects), available_processors())
    shown = dict(zip(suspects, kinds, strict=True))
    found = {file: kind for file, kind in shown.items() if kind}
    beside = {file for file in found if suspects[file].film}
    if len(found) > len(films) / 2:
        found = {file: kind for file, kind in found.items() if file in beside}
    return aside | found


def log_set_aside(aside: dict[Path, str], total: int, root: Path) -> None:
    """Warn of pictures that are left out, counted by kind."""
    if not aside:
        return
    first: dict[str, Path] = {}
    for file, kind in aside.items():
        first.setdefault(kind, file)
    kinds = ", ".join(
        f"{count:,} {kind}{'s'[: count > 1]} ({readable_name(str(_below(first[kind], root)))}{', …' * (count > 1)})"
        for kind, count in Counter(aside.values()).most_common()
    )
    logger.warning(
        "%s of %s pictures of %s are no radiographs and are left out: %s. --keep-masks keeps them.",
        f"{len(aside):,}",
        f"{total:,}",
        readable_name(str(root)),
        kinds,
    )


def words_of(name: str) -> list[str]:
    """The words of a file or folder name in small letters: "LungMasks_2" becomes lung, masks."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _folder_kind(folder: Path) -> str | None:
    """The kind that a folder's name, or that of one above it, tells."""
    for part in folder.parts:
        words = words_of(part)
        kinds = [kind for word in words if (kind := _KINDS.get(word))]
        if kind := _KINDS.get("".join(words)) or _KINDS.get("".join(words[-2:])):
            kinds.append(kind)
        known = all(word in _KINDS or word in _ANATOMY for word in words) or "".join(words[-2:]) in _JOINED
        if kinds and (known or words[-1] in _KINDS):
            return kinds[-1]
        if compound := re.fullmatch(r"(?:lung|lungs|left|right|heart|infection|roi)(masks?|segs?)", "".join(words)):
            return _KINDS[compound[1]]
    return None


def _file_kind(stem: str) -> str | None:
    """The kind that the name of a file tells."""
    words = words_of(stem)
    if not words:
        return None
    if "".join(words[-2:]) in _JOINED:
        return _KINDS["".join(words[-2:])]
    if words[0] == "cam" and len(words) > 1 and "_" in stem:  # as xraycls cam writes them
        return "heat map"
    for word in (words[-1], words[0]):
        numbered = word.removeprefix("lung").removeprefix("left").removeprefix("right")
        if (kind := _KINDS.get(numbered)) and (len(words) > 1 or any(c.isdigit() for c in stem)):
            return kind
    return None


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _looks(files: Sequence[Path]) -> dict[Path, _Look]:
    looks = in_threads_if_slow(_look, files, pool_size(_WAITING))
    return {file: look for file, look in zip(files, looks, strict=True) if look}


def _look(file: Path) -> _Look | None:
    """From the header alone; None for DICOM and whatever Pillow doesn't know."""
    try:
        name = os.fspath(file)
        stat = os.stat(name)  # noqa: PTH116 - called for every file, and twice as fast as of a path
        if not S_ISREG(stat.st_mode):
            return None
        size = stat.st_size
        with open(name, "rb", buffering=0) as handle:  # noqa: PTH123
            head = handle.read(_HEAD)
        if head.startswith(JPEG_MAGIC) and (frame := jpeg_frame(head)):
            width, height, channels = frame
            return _Look(max(width, height), size / (width * height), channels > 1, "JPEG")
        with PillowImage.open(file) as image:
            width, height = image.size
            colour = image.mode not in ("1", "L", "I;16", "I", "F")
            return _Look(max(width, height), size / max(width * height, 1), colour, image.format)
    except Exception:  # Pillow's parsers raise errors of many kinds on damaged headers
        return None


@dataclass(frozen=True, slots=True)
class _Suspect:
    """Why a picture is worth a look at its pixels.

    Attributes:
        film: the largest picture of the same name in a folder beside it; None without one.
        tiny: much smaller than the other pictures.
        small: much smaller than its film.
        sparse: few bytes a pixel, or a format whose bytes tell nothing.
        coloured: in colour, where its film is grey.
    """

    film: Path | None
    tiny: bool
    small: bool
    sparse: bool
    coloured: bool


def _suspects(looks: dict[Path, _Look], twins: dict[Path, list[Path]]) -> dict[Path, _Suspect]:
    if not looks:
        return {}
    sides, densities = [look.side for look in looks.values()], [look.density for look in looks.values()]
    usual_side, usual_density = (sorted(values)[3 * len(values) // 4] for values in (sides, densities))
    found = {}
    for file, look in looks.items():
        others = [other for other in twins.get(file, ()) if other != file]
        film = max(others, key=lambda other: looks[other].side, default=None)
        density = max((looks[other].density for other in others), default=usual_density)
        suspect = _Suspect(
            film,
            tiny=look.side <= _TINY and usual_side >= _LARGE,
            small=film is not None and look.side <= looks[film].side * _SMALLER,
            sparse=look.density < density * _SPARSE or look.format in (_BULKY if film is None else (*_BULKY, "TIFF")),
            coloured=look.colour and any(not looks[other].colour for other in others),
        )
        if suspect.tiny or suspect.small or suspect.sparse or suspect.coloured:
            found[file] = suspect
    return found


def _twins(files: Sequence[Path], group_of: dict[Path, str]) -> dict[Path, list[Path]]:
    """For each file, those of the same stem in its folder or one beside it; a size in a name doesn't count."""
    groups: dict[tuple[Path, str, str | None], list[Path]] = defaultdict(list)
    for file in files:
        groups[file.parent.parent, file.stem.lower(), group_of.get(file)].append(file)
        if sized := _SIZED_COPY.match(file.stem):
            groups[file.parent.parent, sized[1].lower(), group_of.get(file)].append(file)
    found: dict[Path, list[Path]] = defaultdict(list)
    for group in groups.values():
        if len(group) > 1:
            for file in group:
                found[file] += group
    return found


def _shown(file: Path, suspect: _Suspect) -> str | None:
    """What a look at the pixels says; None for a film."""
    if suspect.tiny:
        return "thumbnail"
    try:
        if suspect.sparse and not (suspect.coloured or suspect.small) and _is_surely_film(file):
            return None
        with PillowImage.open(file) as image:
            if image.format == "JPEG":
                image.draft("RGB" if image.mode == "RGB" else "L", _LOOK)
            lossy = image.format in ("JPEG", "WEBP")
            image.load()
            if suspect.coloured and _chroma(image) > _COLOURFUL:
                return "heat map"
            if suspect.sparse and _is_label_map(_levels(image), lossy, _LEVELS if suspect.film else 2):
                return "mask"
            if suspect.small and suspect.film and _alike(image, suspect.film):
                return "thumbnail"
    except Exception:  # damaged: the check of all files says so
        return None
    return None


def _chroma(image: PillowImage.Image) -> float:
    colours = np.asarray(image.convert("RGB")).astype(np.int16)
    return float((colours.max(-1) - colours.min(-1)).mean())


def _levels(image: PillowImage.Image) -> npt.NDArray[np.generic]:
    return np.asarray(image if image.mode in ("I;16", "I", "F", "P") else image.convert("L"))


def _alike(image: PillowImage.Image, film: Path) -> bool:
    """Whether one picture is the other made smaller, by the correlation of their pixels."""
    with PillowImage.open(film) as other:
        one, two = (np.asarray(each.convert("L").resize((48, 48))).astype(float).ravel() for each in (image, other))
    return bool(one.std() > 0 and two.std() > 0 and np.corrcoef(one, two)[0, 1] > _COPY)


def _is_label_map(levels: npt.NDArray[np.generic], lossy: bool, most: int) -> bool:
    """Whether a picture has from two to ``most`` grey values; of a lossy one, values near its two ends alone."""
    if not lossy:
        return 2 <= len(np.unique(levels)) <= most
    shares = np.bincount(levels.ravel(), minlength=256) / levels.size
    low, high = np.flatnonzero(shares)[[0, -1]]
    between, above = shares[low + _ENDS : high - _ENDS + 1].sum(), shares[high - _ENDS + 1 :].sum()
    return bool(high - low > _APART and between < _BETWEEN and above > 0.005)


def _is_surely_film(file: Path) -> bool:
    """Whether a part of a sequential JPEG tells that the whole is no label map; False where it doesn't."""
    with file.open("rb", buffering=0) as handle:
        size = os.fstat(handle.fileno()).st_size
        head = handle.read(_HEAD)
        if not (head.startswith(JPEG_MAGIC) and jpeg_frame(head) and _SCAN in head) or _OTHER_MARKERS.search(head):
            return False
        handle.seek(max((size - _SAMPLE) // 2, 0))
        if _hardly_repeats(np.frombuffer(handle.read(_SAMPLE), np.uint8)):
            return True
        handle.seek(0)
        return _has_many_levels(handle.read(size // 4))


def _hardly_repeats(middle: npt.NDArray[np.uint8]) -> bool:
    """Whether a JPEG has so few flat blocks that it can't be a label map, without decoding anything.

    All flat blocks are written with the same few bits, so bytes of a label map come again a few bytes on, while those
    of a film look like noise. It holds for sequential files; progressive ones write flat parts in next to nothing.
    """
    return len(middle) > _LAGS[-1] and all(
        np.count_nonzero(middle[lag:] == middle[:-lag]) < _REPEATED * len(middle) for lag in _LAGS
    )


def _has_many_levels(begin: bytes) -> bool:
    """Whether the first quarter of a JPEG's bytes holds so many grey levels that the rest makes no label map of it.

    The grey levels count that lie between the two ends of the rows that these bytes hold, which may be closer to each
    other than those of the whole. Decoders give the mean grey level for all below, and one wrong block at the cut.
    """
    try:
        with PillowImage.open(io.BytesIO(begin + _JPEG_END)) as image:
            image.draft("L", _GLANCE)
            levels = _levels(image)
    except OSError:  # so few bytes that they hold not even all tables
        return False
    counts = np.bincount(levels[(levels != _ABSENT).any(axis=1)].ravel(), minlength=256)
    counts[_ABSENT] = 0  # the rest of the last row
    low, high = np.searchsorted(counts.cumsum(), np.array((0.01, 0.99)) * counts.sum())
    between = int(counts[low + _ENDS : max(high - _ENDS, 0)].sum())
    return bool(high - low > _APART and between > 4 * _BETWEEN * levels.size)
