"""Means over values of which some may be missing."""

import numpy as np
from numpy.typing import NDArray


def mean_of_finite(values: NDArray[np.float64]) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
