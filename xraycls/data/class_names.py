"""What the names of classes mean: which one is healthy, which of two is positive, and which cells name no class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

_HEALTHY = frozenset(
    "normal normals norm nor healthy health well control controls ctrl negative negatives neg clear clean unremarkable "
    "uninfected unaffected undiseased noninfected nonaffected asymptomatic absent absence none nil nad wnl baseline "
    "disease-free free gesund sain sano sana sani normale normales normaal noninfectious false".split()
)
_SICK = frozenset(
    "abnormal abnormals abnormality unhealthy positive positives pos present presence sick ill diseased infected "
    "affected pathological pathologic pathology patient patients case true malignant".split()
)
_NEGATIONS = frozenset("no non not without wo w/o never nothing neither excluding excludes free-of".split())
_PREFIXES = ("non", "not", "no", "un", "in", "a", "without")
# Between two classes, the one that stands for whatever is not the other.
_REST = frozenset("other others rest remaining background benign misc miscellaneous else noise".split())
# What a negation may be glued to: "nofinding", "noncovid", "notb".
_FINDINGS = frozenset(
    "finding findings covid covid19 tb tuberculosis pneumonia pneumothorax ptx effusion opacity opacities mass nodule "
    "nodules cancer tumor tumour lesion lesions disease diseases infection infected infectious abnormality "
    "abnormalities abnormal cardiomegaly edema oedema consolidation atelectasis fracture fractures fibrosis emphysema "
    "hernia infiltrate infiltration ards sars virus viral bacterial pathology symptomatic symptom symptoms change "
    "changes silicosis pneumoconiosis device devices tube catheter covidpneumonia normal healthy ild copd sign signs "
    "lungopacity pleuraleffusion "
    "diseased affected remarkable icu survivor severe progression smoker".split()
)
_NOT_NEGATED = frozenset(
    "nodule nodules nodular normal normals norm nor note notes inflammation infiltrate infection".split()
)

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_CLASS = frozenset(
    "nan na n/a n.a. #n/a #na null nil <na> <null> nat missing unknown unk unlabeled unlabelled unspecified undefined "
    "undetermined uncertain unclear unsure ? ?? - -- . .. tbd todo (empty) (blank) blank #value! #ref! #div/0!".split()
)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a class name in small letters, without numbers that only sort it.

    >>> words_of("CT_NonCOVID"), words_of("1-No_Finding"), words_of("COVID-19")
    (('ct', 'non', 'covid'), ('no', 'finding'), ('covid', '19'))
    """
    spaced = _CAMEL.sub(" ", name.replace("w/o", "without").replace("W/O", "without"))
    words = re.findall(r"[^\W_]+", spaced.lower())
    while len(words) > 1 and words[0].isdigit():
        words = words[1:]
    return tuple(words)


def is_healthy(name: str) -> bool:
    """Whether a class is that of pictures without a finding: "Normal", "No Finding", "Non-COVID" and the like.

    >>> [is_healthy(name) for name in ("Normal cases", "nofinding", "Nodule", "Not Normal", "TB negative")]
    [True, True, False, False, True]
    """
    return _rank(name) <= 1


def positive_of(classes: Sequence[str]) -> tuple[str, bool]:
    """Which of two classes is the positive one, and whether their names tell it.

    A class that negates the other ("Non-COVID" of "COVID"), or that means health ("Normal cases", "no finding", "TB
    negative"), is the negative one; of two numbers the larger is positive. Where nothing tells, it is the last in the
    order of the alphabet, and that is a guess.

    Args:
        classes: two names.

    Returns:
        The positive class, and whether it is sure.

    >>> positive_of(["COVID", "Non-COVID"]), positive_of(["cat", "dog"])
    (('COVID', True), ('dog', False))
    """
    one, other = classes
    if _is_number(one) and _is_number(other):
        return max(classes, key=float), True
    (stem, number), (other_stem, other_number) = (_numbered(name) for name in classes)
    if stem == other_stem and number and other_number:
        return (one if int(number) > int(other_number) else other), True
    for name, against in ((one, other), (other, one)):
        if _rank(name) > 1 and _negates(against, name):
            return name, True
    ranks = _rank(one), _rank(other)
    if ranks[0] != ranks[1]:
        return (one if ranks[0] > ranks[1] else other), True
    return max(classes), False


def is_no_class(cell: str) -> bool:
    """Whether a cell stands for a label that isn't known: blank, "nan", "-1", "unknown" and the like.

    >>> [is_no_class(cell) for cell in ("nan", " -1 ", "-1.0", "N/A", "0", "Normal")]
    [True, True, True, True, False, False]
    """
    text = cell.strip().lower()
    return text in _NO_CLASS or not text or bool(re.fullmatch(r"-\d+(\.0*)?", text))


def plain_class(name: str) -> str:
    """What spellings of one class share: "COVID-19", "covid19" and "Covid 19"; "1" and "1.0".

    >>> plain_class("No Finding") == plain_class("no-finding"), plain_class("1.0"), plain_class("+")
    (True, '1', '+')
    """
    text = name.strip().casefold()
    if _is_number(text):
        value = float(text)
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    joined = re.sub(r"(?<=[^\W_])(?<!\d)[\s_./'-]+(?=[^\W_])|(?<=[^\W_])[\s_./'-]+(?=[^\W\d_])", "", text)
    return re.sub(r"(?<=[^\W_])[\s_.]+$", "", joined)


def _is_number(name: str) -> bool:
    return bool(re.fullmatch(r"\s*[+-]?\d+(\.\d*)?\s*", name, re.ASCII))


def _numbered(name: str) -> tuple[str, str]:
    """A name and the number at its end: "class_1" becomes "class_" and "1"."""
    stem = name.strip().rstrip("0123456789")
    return stem, name.strip()[len(stem) :]


@cache
def _rank(name: str) -> int:
    """How sick a class is: 0 health, 1 the absence of something, 2 the rest of others, 3 nothing known, 4 sickness."""
    words = [part for word in words_of(name) for part in _unglued(word)]
    text = {*words, *(word.rstrip("0123456789") for word in words)}
    if sign := re.search(r"([+-])\W*$", name.strip()):
        return 4 if sign[1] == "+" else 0
    if name.strip().lower() in ("n", "f"):
        return 0
    if name.strip().lower() in ("y", "t", "yes"):
        return 4
    if name.strip().lower() in ("no", "not"):
        return 0
    negated = [after for before, after in pairwise(words) if before in _NEGATIONS]
    if any(word in _HEALTHY for word in negated):
        return 3 if len(words) > 2 else 4
    if text & _NEGATIONS:
        return 1
    if text & _HEALTHY:
        return 0
    if text & _REST:
        return 2
    return 4 if text & _SICK else 3


def _unglued(word: str) -> tuple[str, ...]:
    """A word without the negation that it begins with: "noncovid" becomes non, covid."""
    if word in _NOT_NEGATED or word in _HEALTHY or word in _SICK:
        return (word,)
    if word.endswith("free") and word.removesuffix("free") in _FINDINGS:  # "tbfree"
        return ("no", word.removesuffix("free"))
    for prefix in ("non", "not", "no", "un", "without"):
        rest = word.removeprefix(prefix)
        if rest != word and (rest in _FINDINGS or rest.rstrip("0123456789") in _FINDINGS):
            return ("no", rest)
    return (word,)


def _negates(name: str, other: str) -> bool:
    """Whether a name is the other one with a negation: "no effusion" of "effusion", "Uninfected" of "Infected"."""
    words, without = words_of(name), words_of(other)
    bare = [word for word in words if word not in _NEGATIONS]
    if len(bare) < len(words) and set(without) <= set(bare) and not _NEGATIONS & set(without):
        return True
    joined, other_joined = "".join(words), "".join(without)
    if joined == other_joined or len(words) < len(without):
        return False
    for at, word in enumerate(words):
        for prefix in _PREFIXES:
            if (
                word.startswith(prefix)
                and "".join((*words[:at], word[len(prefix) :], *words[at + 1 :])) == other_joined
            ):
                return len(prefix) > 1 or word not in _SICK
    return False
