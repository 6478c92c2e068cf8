"""Learning from choices: weights of the score by which what travellers chose ranks first.

A choice says that the chosen offer was better than each that was shown beside it. Of such pairs a
logistic regression on the differences of their components learns how much each component counts.
What is served is the search's own score with these weights, so that is what they are judged by: by
the log loss of choices that they were not learned from, as a softmax of the score over what was
shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from apps.flights.weights import COMPONENTS, Weights

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# One of so many travellers is held out, with all of their choices.
HELD_OUT: Final = 5
# Of a long list so many are learned from.
PAIRS: Final = 20
# How sharply a score may tell choices apart: at most, the whole scale is as good as certain.
SHARPEST: Final = 1_000.0
# Of a normal distribution: the lower end of a two-sided interval of 95 %.
QUANTILE: Final = 1.96


@dataclass(frozen=True, slots=True)
class ChoiceSets:
    """Choices with their alternatives: those of one lie together, the chosen one first."""

    values: Floats
    """Components by alternative; NaN where one is not known."""
    starts: Integers
    """Where each choice begins."""
    travellers: Integers
    """Whose choice it is, as a number."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> Integers:
        return np.diff(self.starts, append=len(self.values))

    def those(self, chosen: NDArray[np.bool_]) -> ChoiceSets:
        """Return some of the choices."""
        sizes = self.sizes[chosen]
        return ChoiceSets(
            self.values[np.repeat(chosen, self.sizes)],
            np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
            self.travellers[chosen],
        )


Row = tuple[UUID, Sequence[float | None], Sequence[Sequence[float | None]]]


def choice_sets(rows: Iterable[Row]) -> ChoiceSets:
    """Return choices as arrays, each from who chose, what was chosen, and what was shown beside."""
    blocks: list[Floats] = []
    travellers: list[int] = []
    for traveller, chosen, shown in rows:
        blocks.append(np.array([chosen, *shown], dtype=np.float64))
        # 62 bits of a digest: it fits, and none is negative.
        travellers.append(traveller.int >> 66)
    sizes = np.array([len(block) for block in blocks], dtype=np.int64)
    return ChoiceSets(
        np.concatenate(blocks) if blocks else np.empty((0, len(COMPONENTS))),
        np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        np.array(travellers, dtype=np.int64),
    )


def scores(values: Floats, weights: Floats) -> Floats:
    """Return what SQL's weighted_score() answers: the mean of the components that are known."""
    known = ~np.isnan(values) @ weights
    summed = np.nan_to_num(values) @ weights
    return np.divide(summed, known, out=np.zeros_like(summed), where=known > 0)


def fitted_weights(sets: ChoiceSets, counted: Sequence[bool]) -> Floats:
    """Return the weights that the choices show, none negative, with the sum 1; all 0 if none does.

    A component that is not known of one of a pair tells nothing of the pair. One by which the worse
    offer would win is left out, and the others are learned again.
    """
    # A tenth of a gigabyte and a second or more, which no process but the worker needs to spend.
    from sklearn.linear_model import LogisticRegression

    sizes = sets.sizes
    place = np.arange(len(sets.values)) - np.repeat(sets.starts, sizes)
    # The list is in no order of quality: its beginning is a sample.
    other = (place > 0) & (place <= PAIRS)
    best = np.repeat(sets.values[sets.starts], sizes, axis=0)
    differences = np.nan_to_num((best - sets.values)[other])
    # A long list does not count more than a short one.
    importance = 1 / np.repeat(np.minimum(sizes - 1, PAIRS), sizes)[other]
    # A regression wants both classes: every other pair is turned round, which says the same.
    sign = np.where(np.arange(len(differences)) % 2 == 0, 1.0, -1.0)
    used = np.array(counted) & (np.abs(differences).max(axis=0, initial=0) > 0)
    weights = np.zeros(len(COMPONENTS))
    while used.any() and len(differences) > 1:
        model = LogisticRegression(fit_intercept=False)
        model.fit(differences[:, used] * sign[:, None], sign > 0, sample_weight=importance)
        found = model.coef_[0]
        if (found >= 0).all():
            weights[used] = found
            break
        used[np.flatnonzero(used)[found < 0]] = False
    total = weights.sum()
    return weights / total if total > 0 else np.zeros(len(COMPONENTS))


def losses(sets: ChoiceSets, weights: Floats, sharpness: float) -> Floats:
    """Return the log loss of each choice, in nats, where the score times `sharpness` decides."""
    drawn = sharpness * scores(sets.values, weights)
    highest = np.maximum.reduceat(drawn, sets.starts)
    summed = np.add.reduceat(np.exp(drawn - np.repeat(highest, sets.sizes)), sets.starts)
    loss: Floats = highest + np.log(summed) - drawn[sets.starts]
    return loss


def sharpness_of(sets: ChoiceSets, weights: Floats) -> float:
    """Return by what factor the scores explain the choices best."""
    # Long to import, and needed by the worker that trains alone.
    from scipy.optimize import minimize_scalar

    if not weights.any():
        return 0.0
    found = minimize_scalar(
        lambda sharpness: losses(sets, weights, sharpness).mean(),
        bounds=(0, SHARPEST),
        method="bounded",
    )
    return float(found.x)


def top_1(sets: ChoiceSets, weights: Floats) -> float:
    """Return the share of choices that rank first; of n equals each is first once in n times."""
    drawn = scores(sets.values, weights).round(9)
    highest = np.maximum.reduceat(drawn, sets.starts)
    equals = np.add.reduceat(drawn == np.repeat(highest, sets.sizes), sets.starts, dtype=np.int64)
    return float(((drawn[sets.starts] == highest) / equals).mean())


@dataclass(frozen=True, slots=True)
class Trained:
    """Learned weights, and how they do beside the configured ones on choices held out."""

    weights: Weights
    choices: int
    held_out: int
    log_loss: float
    configured_log_loss: float
    top_1: float
    configured_top_1: float
    gain: float
    gain_at_least: float


def train(sets: ChoiceSets, configured: Weights, counted: Mapping[str, bool]) -> Trained:
    """Learn weights from most travellers' choices and try them on the others'.

    Needs choices that have alternatives. Components that do not count are not learned, and not
    compared. Deterministic.
    """
    held_out = sets.travellers % HELD_OUT == 0
    known, unseen = sets.those(~held_out), sets.those(held_out)
    learned = fitted_weights(known, [counted.get(name, True) for name in COMPONENTS])
    weights = Weights(**dict(zip(COMPONENTS, learned.tolist(), strict=True)))
    if not len(known) or not len(unseen):
        return Trained(weights, len(known), len(unseen), 0, 0, 0, 0, 0, 0)
    kept = configured.of(counted)
    standing = np.array([getattr(kept, name) for name in COMPONENTS], dtype=np.float64)
    ours = losses(unseen, learned, sharpness_of(known, learned))
    theirs = losses(unseen, standing, sharpness_of(known, standing))
    gains = theirs - ours
    return Trained(
        weights,
        len(known),
        len(unseen),
        float(ours.mean()),
        float(theirs.mean()),
        top_1(unseen, learned),
        top_1(unseen, standing),
        float(gains.mean()),
        float(gains.mean() - QUANTILE * _error_of_mean(gains, unseen.travellers)),
    )


def _error_of_mean(gains: Floats, travellers: Integers) -> float:
    """Return the mean's standard error, where one traveller's choices may be alike."""
    _, whose = np.unique(travellers, return_inverse=True)
    summed = np.bincount(whose, gains - gains.mean())
    number = len(summed)
    if number < 2:
        return float("inf")
    return float(np.sqrt((summed**2).sum() * number / (number - 1)) / len(gains))
