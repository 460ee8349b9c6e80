"""A curve by position that transactions share, each at a level of its own.

*Model.* A statement at position p takes λ · m(p), times noise: λ is the level of its transaction
(objects, the host's mood at that time), m the curve that all transactions share. The first position
is left out, since it pays for what a transaction does once. On logarithms, so that noise counts as
a share wherever the curve stands, and with each transaction's level fitted besides: what differs
from one transaction to another tells nothing of the curve.

*Fit.* Gauss–Newton steps on the logarithms, with Huber's weights: a statement that stalled counts
as one that is 1.5 standard deviations off, and none is left out.

*Interval.* The transaction is the unit of replication: what varies slowly within one (a busy minute
of the host) makes its statements resemble each other. So the variance comes from how much
transactions disagree, each with the weight that it had, corrected for the share that it has in the
mean itself (Bell and McCaffrey, Survey
Methodology 28, 2002), with Student's t of the degrees of freedom that the weights
leave (Satterthwaite): three long transactions among twenty count as little more than three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lab.stats.student import student_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_ALPHA = 0.05
_POWER = 0.8

_HUBER = 1.5
_STEPS = 60
_SCALING_STEPS = 8  # the residuals' scale is settled by then; with it fixed, the steps converge
_HALVINGS = 30
_ENOUGH = 1e-9  # a step by less, in the curve's own unit, is the last
_LEAST_SCALE = 1e-9  # of residuals, as a share: where there is no noise at all
_LEAST_LEVEL = 1e-3  # the curve stays above this share of its value in the middle


class Samples(NamedTuple):
    """All statements but the first of each transaction, transaction after transaction.

    ``logs`` are the logarithms of their ns; transaction i begins at ``starts[i]``; ``of`` holds
    each one's transaction. ``centre`` and ``width`` (mean and standard deviation of the positions)
    make ``unit`` = (position − centre) / width, and ``square`` is the mean of its square.
    """

    logs: Floats
    unit: Floats
    starts: Ints
    of: Ints
    centre: float
    width: float
    square: float
    first: int
    last: int

    def total(self, values: Floats) -> Floats:
        """Return the sums over each transaction."""
        import numpy as np

        sums: Floats = np.add.reduceat(values, self.starts, axis=0)
        return sums

    def basis(self, degree: int) -> Floats:
        """Return what a curve of that degree is made of: one column each, of mean 0."""
        import numpy as np

        return np.stack((self.unit, self.unit**2 - self.square), axis=1)[:, :degree]


class _State(NamedTuple):
    """How far a fit has come: parameters, the transactions' levels, what remains, its scale."""

    parameters: Floats
    levels: Floats
    residuals: Floats
    scale: float

    @property
    def weights(self) -> Floats:
        """Huber's weights: 1 for what is within 1.5 standard deviations, less beyond."""
        import numpy as np

        far = np.maximum(np.abs(self.residuals), _LEAST_SCALE)
        weights: Floats = np.minimum(1.0, _HUBER * self.scale / far)
        return weights


class _Mean(NamedTuple):
    """A figure of a fit as a mean over transactions.

    ``pulls`` is what each transaction moves it by, corrected: the sum of their squares is the
    figure's variance, with ``freedom`` degrees of freedom.
    """

    value: float
    pulls: Floats
    freedom: float


class Curve(NamedTuple):
    """A fitted curve: floor, slope and curvature in ns per position to the power 0, 1 and 2.

    ``low`` and ``high`` bound the highest coefficient of its degree with 95% confidence, and
    ``detectable`` is the smallest one that could have been told from none four times out of five
    (all 0 for degree 0). ``growth`` is the cost at the last position over that at the first;
    ``bend`` is what the curvature adds at the last, as a share of where the tangent at the first
    would end.
    """

    coefficients: tuple[float, float, float]
    low: float
    high: float
    detectable: float
    growth: float
    bend: float

    @property
    def claimed(self) -> bool:
        """Whether the highest coefficient is certainly above 0."""
        return self.low > 0


def take_samples(transactions: Sequence[Sequence[int]]) -> Samples:
    """Return the statements of ``transactions`` (ns by position), of at least three each."""
    import numpy as np

    parts = [np.asarray(each[1:], dtype=np.float64) for each in transactions]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    positions = np.concatenate([np.arange(2.0, n + 2) for n in lengths])
    centre, width = float(positions.mean()), float(positions.std())
    unit = (positions - centre) / width
    return Samples(
        logs=np.log(np.maximum(np.concatenate(parts), 1)),
        unit=unit,
        starts=np.concatenate(([0], np.cumsum(lengths)[:-1])),
        of=np.repeat(np.arange(len(parts)), lengths),
        centre=centre,
        width=width,
        square=float((unit**2).mean()),
        first=2,
        last=int(lengths.max()) + 1,
    )


def fit_curve(samples: Samples, degree: int) -> Curve:
    """Return the curve of that degree with what is known of it."""
    basis = samples.basis(degree)
    state = _converged(samples, basis)
    level = _level(samples, state)
    # Plain floats: what is made of them is written as JSON.
    parameters = [*map(float, state.parameters), 0.0, 0.0][:2]
    scale = math.exp(level.value if degree else _typical_level(samples, state))
    coefficients = _expanded(samples, scale, parameters[0], parameters[1])
    start, end = (_at(coefficients, p) for p in (samples.first, samples.last))
    bend = coefficients[2] * (samples.last - samples.first) ** 2
    low = high = detectable = 0.0
    if degree:
        found, lift = _highest(samples, basis, state)
        unit = scale / samples.width**degree
        # In ns it is a product: with the level, which itself moves by ``lift`` of the figure.
        pulls = found.pulls + found.value * (level.pulls - lift * found.pulls)
        sure, power = (_t(p, found.freedom) for p in (1 - _ALPHA / 2, _POWER))
        half = sure * _length(pulls)
        low, high = ((found.value + side * half) * unit for side in (-1, 1))
        detectable = (sure + power) * _length(found.pulls) * unit
    return Curve(
        coefficients=coefficients,
        low=low,
        high=high,
        detectable=detectable,
        growth=end / start,
        bend=bend / max(end - bend, _LEAST_LEVEL * end),
    )


def _expanded(
    samples: Samples, scale: float, first: float, second: float
) -> tuple[float, float, float]:
    """Return floor, slope and curvature per position of the curve, from those of its unit."""
    slope = first / samples.width
    curvature = second / samples.width**2
    centre = samples.centre
    return (
        scale * (1 - second * samples.square - slope * centre + curvature * centre**2),
        scale * (slope - 2 * curvature * centre),
        scale * curvature,
    )


def _at(coefficients: tuple[float, float, float], position: int) -> float:
    floor, slope, curvature = coefficients
    return floor + slope * position + curvature * position**2


def _converged(samples: Samples, basis: Floats) -> _State:
    """Fit curve and levels: Gauss–Newton steps, reweighted, halved where they lead nowhere."""
    import numpy as np

    medians = [np.median(part) for part in np.split(samples.logs, samples.starts[1:])]
    levels = np.array(medians, dtype=np.float64)
    residuals = samples.logs - levels[samples.of]
    state = _State(np.zeros(basis.shape[1]), levels, residuals, _scale(residuals))
    for number in range(_STEPS):
        moved = _stepped(samples, basis, state)
        if number < _SCALING_STEPS:
            moved = moved._replace(scale=_scale(moved.residuals))
        change = np.abs(moved.parameters - state.parameters).max(initial=0.0)
        change = max(change, np.abs(moved.levels - state.levels).max())
        state = moved
        if number >= _SCALING_STEPS and change < _ENOUGH:
            break
    return state


def _scale(residuals: Floats) -> float:
    """Return the standard deviation of residuals by their median, which stalls hardly move."""
    import numpy as np

    return max(1.4826 * float(np.median(np.abs(residuals))), _LEAST_SCALE)


def _stepped(samples: Samples, basis: Floats, state: _State) -> _State:
    """Return the state after one step, with the weights that ``state`` has."""
    import numpy as np

    weights = state.weights
    slopes = _centred(samples, _slopes(basis, state.parameters), weights)
    weighted = slopes * weights[:, None]
    step = np.linalg.lstsq(weighted.T @ slopes, weighted.T @ state.residuals, rcond=None)[0]
    before = _left(samples, basis, state.parameters, state.scale, weights)
    for _ in range(_HALVINGS):
        parameters = state.parameters + step
        if (1 + basis @ parameters).min() > _LEAST_LEVEL:
            after = _left(samples, basis, parameters, state.scale, weights)
            if weights @ after.residuals**2 <= weights @ before.residuals**2:
                return after
        step = step / 2
    return before


def _left(
    samples: Samples, basis: Floats, parameters: Floats, scale: float, weights: Floats
) -> _State:
    """Return levels and residuals of the curve with these parameters."""
    import numpy as np

    bare = samples.logs - np.log1p(basis @ parameters)
    levels = samples.total(weights * bare) / samples.total(weights)
    return _State(parameters, levels, bare - levels[samples.of], scale)


def _slopes(basis: Floats, parameters: Floats) -> Floats:
    """Return the derivatives of the curve's logarithm by its parameters."""
    slopes: Floats = basis / (1 + basis @ parameters)[:, None]
    return slopes


def _centred(samples: Samples, columns: Floats, weights: Floats) -> Floats:
    """Return the columns less their weighted mean over each transaction, which its level takes."""
    means = samples.total(columns * weights[:, None]) / samples.total(weights)[:, None]
    centred: Floats = columns - means[samples.of]
    return centred


def _highest(samples: Samples, basis: Floats, state: _State) -> tuple[_Mean, float]:
    """Return the last parameter, and how much of the logarithm of the curve's mean it makes up."""
    import numpy as np

    weights = state.weights
    slopes = _slopes(basis, state.parameters)
    centred = _centred(samples, slopes, weights)
    others = centred[:, :-1] * weights[:, None]
    shared = np.linalg.lstsq(others.T @ centred[:, :-1], others.T @ centred[:, -1], rcond=None)[0]
    own = np.append(-shared, 1.0)
    column = centred @ own
    # Beyond Huber's bound a residual no longer moves the estimate; the weights alone have it do so.
    moving = float((np.abs(state.residuals) <= _HUBER * state.scale).mean())
    pulls, freedom = _pulls(
        samples.total(weights * column**2), samples.total(weights * column * state.residuals)
    )
    found = _Mean(float(state.parameters[-1]), pulls * float(weights.mean()) / moving, freedom)
    return found, float(weights @ (slopes @ own) / weights.sum())


def _level(samples: Samples, state: _State) -> _Mean:
    """Return the mean of the transactions' levels, each by the statements that it stands for."""
    sizes = samples.total(state.weights)
    mean = float(sizes @ state.levels / sizes.sum())
    return _Mean(mean, *_pulls(sizes, sizes * (state.levels - mean)))


def _typical_level(samples: Samples, state: _State) -> float:
    """Return the median of the transactions' levels, each by the statements that it stands for.

    A few slow transactions would draw the mean above where nearly all statements lie. Without a
    slope no interval hangs on it.
    """
    import numpy as np

    order = np.argsort(state.levels)
    sizes = samples.total(state.weights)[order]
    middles = np.cumsum(sizes) - sizes / 2
    return float(np.interp(sizes.sum() / 2, middles, state.levels[order]))


def _pulls(shares: Floats, deviations: Floats) -> tuple[Floats, float]:
    """Return what each transaction moves a mean by, and the degrees of freedom of its variance.

    ``shares`` is what each one weighs in it, ``deviations`` that times how far it lies from it. Its
    own share draws the mean towards it, which the root of what is left makes up for.
    """
    import numpy as np

    whole = float(shares.sum())
    parts = shares / whole
    rest = np.maximum(1 - parts, 1e-9)
    covariance = np.diag(parts) - np.outer(parts, parts)
    freedom = 1 / float((covariance**2 / np.outer(rest, rest)).sum())
    return deviations / whole / np.sqrt(rest), max(freedom, 1.0)


def _length(pulls: Floats) -> float:
    return math.sqrt(float(pulls @ pulls))


def _t(p: float, freedom: float) -> float:
    """Return Student's quantile for a broken number of degrees of freedom, by way of 1/freedom."""
    below = math.floor(freedom)
    low, high = (student_quantile(p, each) for each in (below, below + 1))
    return low + (high - low) * (1 / below - 1 / freedom) * below * (below + 1)
