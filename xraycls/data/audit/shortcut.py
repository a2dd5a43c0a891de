"""Labels that can be told without looking at the picture: source confounding.

In CoronaHack the normal films are of children and those with COVID of adults: a network learns age, and calls it COVID
(DeGrave et al., *AI for radiographic COVID-19 detection selects shortcuts over signal*, 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from xraycls.data.audit.features import Feature, metadata_features
from xraycls.data.audit.finding import Evidence, Finding, Group
from xraycls.data.audit.tree import Leaf, Rule, rule_for

LEAST = 0.9
"""AUC from which metadata that tell the label are a shortcut."""

_TELLING = 0.8  # share of one answer among the pictures of a branch that is told


def check_shortcut(evidence: Evidence) -> Iterator[Finding]:
    """Classes that file size, resolution, depth, frame, age, sex, view or source tell with AUC ≥ 0.9."""
    rows = labelled(evidence)
    features = metadata_features(evidence, rows) if rows else []
    for name, rule in rules(evidence, rows, features, LEAST):
        yield Finding(
            "shortcut",
            "error",
            f"{_listed(rule.features)} {'tells' if len(rule.features) == 1 else 'tell'} {name} without the picture "
            f"(AUC {rule.auc:.2f}): {in_words(rule, name)}",
            "A network finds such a shortcut sooner than disease, and fails where it doesn't hold. Train and test on "
            "pictures of one source, match the classes, or take away what differs (xraycls data prepare makes size, "
            "depth and compression alike).",
            branches(rows, rule, name),
            {"class": name, "auc": rule.auc, "features": list(rule.features)},
        )


def labelled(evidence: Evidence) -> list[int]:
    """Rows that can be read and have a label."""
    return [row for row in evidence.readable if evidence.table[row].label is not None]


def rules(
    evidence: Evidence, rows: Sequence[int], features: Sequence[Feature], least: float
) -> Iterator[tuple[str, Rule]]:
    """The rule that tells each class from all others, if there is one; of two classes, the second stands for both."""
    labels = np.array([evidence.table[row].label for row in rows])
    groups = _patients(evidence, rows)
    classes = range(len(evidence.table.classes))
    for label in classes if len(classes) > 2 else classes[1:]:
        rule = rule_for(features, labels == label, groups, least)
        if rule is not None:
            yield evidence.table.classes[label], rule


def in_words(rule: Rule, name: str) -> str:
    """Such as "age above 12 → COVID (98 % of 1,341)": the largest branch that is clear, one that says yes if it can."""
    clear = [leaf for leaf in rule.leaves if max(leaf.positive, 1 - leaf.positive) >= _TELLING] or rule.leaves
    return _branch(next((leaf for leaf in clear if leaf.positive >= 0.5), clear[0]), name)


def branches(rows: Sequence[int], rule: Rule, name: str) -> tuple[Group, ...]:
    """The pictures of each branch."""
    return tuple(Group(tuple(rows[i] for i in leaf.rows), _branch(leaf, name)) for leaf in rule.leaves)


def _branch(leaf: Leaf, name: str) -> str:
    answer, share = (name, leaf.positive) if leaf.positive >= 0.5 else (f"not {name}", 1 - leaf.positive)
    return f"{leaf.when} → {answer} ({share:.0%} of {len(leaf.rows):,})"


def _listed(names: Sequence[str]) -> str:
    listed = [name.partition(" is ")[0] for name in names]
    unique = list(dict.fromkeys(listed))
    text = ", ".join(unique[:-1]) + f" and {unique[-1]}" if len(unique) > 1 else unique[0]
    return text[0].upper() + text[1:]


def _patients(evidence: Evidence, rows: Sequence[int]) -> npt.NDArray[np.int64]:
    """A number for every patient; pictures of nobody known are each their own."""
    names = [evidence.table[row].patient or f"\0{row}" for row in rows]
    return np.unique(names, return_inverse=True)[1]
