"""A shallow decision tree on a few numbers, and its rule in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.data.audit.features import Feature

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

DEPTH = 3
_FOLDS = 5
_AS_GOOD = 0.02  # AUC that a simpler tree may lack
_FEWEST = 10  # pictures of either class, from as many as _FOLDS patients
_MARGIN = 0.05  # below the least AUC, which two standard errors don't reach: a few patients are told apart by accident


@dataclass(frozen=True, slots=True)
class Leaf:
    """One branch of a rule.

    Attributes:
        when: its conditions, such as "age below 12".
        rows: positions of the pictures that meet them.
        positive: share of these that belong to the class, 0–1.
    """

    when: str
    rows: tuple[int, ...]
    positive: float


@dataclass(frozen=True, slots=True)
class Rule:
    """How well features tell a class, and how.

    Attributes:
        auc: of predictions for patients that the tree has not seen, 0–1.
        features: that it looks at, the most telling first.
        leaves: of the tree that all pictures give, the largest first.
    """

    auc: float
    features: tuple[str, ...]
    leaves: tuple[Leaf, ...]


def rule_for(
    features: Sequence[Feature], positive: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64], least: float
) -> Rule | None:
    """The simplest rule that tells a class, where features tell it at all.

    A tree of depth 3 is cross-validated in five folds, stratified by class and grouped by patient; chance gives an AUC
    of 0.5. The rule is that of the shallowest tree that is as good.

    Args:
        features: of n pictures.
        positive: [n], whether each belongs to the class.
        groups: [n], the patient of each.
        least: AUC below which there is no rule.

    Returns:
        None below ``least``, without features, or with too few patients to say.
    """
    few = min(positive.sum(), (~positive).sum()) < _FEWEST
    if not features or few or min(len(set(groups[positive])), len(set(groups[~positive]))) < _FOLDS:
        return None
    values = np.stack([feature.values for feature in features], axis=1)
    areas = {DEPTH: _validated(values, positive, groups, DEPTH)}
    doubt = 2 * _standard_error(areas[DEPTH], len(set(groups[positive])), len(set(groups[~positive])))
    if areas[DEPTH] < least or areas[DEPTH] - doubt < least - _MARGIN:
        return None
    areas |= {depth: _validated(values, positive, groups, depth) for depth in range(1, DEPTH)}
    depth = min(d for d, area in areas.items() if area >= max(areas[DEPTH] - _AS_GOOD, least))
    tree = _tree(len(positive), depth).fit(values, positive)
    used = [features[i].name for i in np.argsort(-tree.feature_importances_) if tree.feature_importances_[i] > 0]
    return Rule(areas[depth], tuple(used), tuple(_leaves(tree, features, values, positive)))


def _validated(values: Any, positive: Any, groups: Any, depth: int) -> float:
    """AUC of predictions for held-out patients."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    tree = _tree(len(positive), depth)
    folds = PredefinedSplit(_folds(positive, groups))
    predicted = cross_val_predict(tree, values, positive, cv=folds, method="predict_proba")
    return float(roc_auc_score(positive, predicted[:, 1]))


def _folds(positive: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The fold of every picture, 0 to 4: patients by their share of the class and their number of pictures, dealt out.

    As stratified as scikit-learn's StratifiedGroupKFold, which weighs every fold anew for each patient, and takes
    minutes for a hundred thousand.
    """
    patients, patient_of = np.unique(groups, return_inverse=True)
    pictures = np.bincount(patient_of)
    share = np.bincount(patient_of, weights=positive) / pictures
    order = np.lexsort((np.random.default_rng(0).permutation(len(patients)), pictures, share))
    folds = np.empty(len(patients), np.int64)
    folds[order] = np.arange(len(patients)) % _FOLDS
    return np.asarray(folds[patient_of])


def _standard_error(area: float, positives: int, negatives: int) -> float:
    """Of an AUC (Hanley and McNeil, *The Meaning and Use of the Area under a ROC Curve*, 1982, formula 2)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)
    return float(np.sqrt((area * (1 - area) + spread) / (positives * negatives)))


def _tree(count: int, depth: int) -> DecisionTreeClassifier:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(
        max_depth=depth, min_samples_leaf=max(5, count // 20), class_weight="balanced", random_state=0
    )


def _leaves(
    tree: DecisionTreeClassifier, features: Sequence[Feature], values: Any, positive: npt.NDArray[np.bool_]
) -> list[Leaf]:
    reached = tree.apply(values)
    leaves = []
    for leaf, bounds in _paths(tree.tree_, 0, {}):
        rows = np.flatnonzero(reached == leaf)
        when = " and ".join(_condition(features[i], *bound) for i, bound in bounds.items())
        leaves.append(Leaf(when, tuple(rows.tolist()), float(positive[rows].mean())))
    return sorted(leaves, key=lambda leaf: -len(leaf.rows))


Bounds = dict[int, tuple[float, float]]


def _paths(tree: Any, node: int, bounds: Bounds) -> Iterator[tuple[int, Bounds]]:
    """Every leaf, with the range that each feature on the way to it is in."""
    left, right, feature, threshold = (
        tree.children_left[node], tree.children_right[node], int(tree.feature[node]), float(tree.threshold[node])
    )  # fmt: skip
    if left == right:
        yield node, bounds
        return
    low, high = bounds.get(feature, (-np.inf, np.inf))
    yield from _paths(tree, left, {**bounds, feature: (low, threshold)})
    yield from _paths(tree, right, {**bounds, feature: (threshold, high)})


def _condition(feature: Feature, low: float, high: float) -> str:
    if feature.shown is None:
        return feature.name if np.isfinite(low) else feature.name.replace(" is ", " is not ", 1)
    if np.isfinite(low) and np.isfinite(high):
        return f"{feature.name} {feature.shown(low)} to {feature.shown(high)}"
    return (
        f"{feature.name} below {feature.shown(high)}"
        if np.isfinite(high)
        else (f"{feature.name} above {feature.shown(low)}")
    )
