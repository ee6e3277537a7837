"""Values with their 95% intervals: shares of rows, means per token, and the score of one side of an evaluation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..model.score import RowScores

RESAMPLES = 2000


def side_score(
    scores: RowScores, exact: np.ndarray | None, seed: int, preferred: np.ndarray | None = None
) -> dict[str, Any]:
    """The SideScore of the contract: means over tokens with 95% intervals; over rows for exact match and preference.

    `exact` is None when no text was generated: over 0 rows the interval is from 0 to 1.
    """
    loss, accuracy = bootstrap(scores.nll, scores.count, seed), bootstrap(scores.correct, scores.count, seed)
    exact = np.zeros(0, bool) if exact is None else exact
    return {
        "rows": len(scores.nll),
        "tokens": int(scores.count.sum()),
        "loss": loss,
        "perplexity": math.exp(min(loss["mean"], 700.0)),
        "token_accuracy": accuracy,
        "exact_match": {**share(exact), "count": int(exact.sum())},
        **({} if preferred is None else {"preference": share(preferred)}),
    }


def share(hits: np.ndarray) -> dict[str, float]:
    """Share of true values with its interval; 0 for no rows."""
    low, high = wilson(int(hits.sum()), len(hits))
    return {"mean": float(hits.mean()) if len(hits) else 0.0, "low": low, "high": high}


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's 95% interval of a share; valid for few rows and for shares of 0 and 1."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if hits == 0 else max(0.0, center - half)), (1.0 if hits == n else min(1.0, center + half))


def bootstrap(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, float]:
    """Ratio of sums over rows (a mean per token) with a seeded 95% percentile bootstrap, drawing whole rows."""
    generator = np.random.default_rng(seed)
    n = len(sums)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = generator.integers(0, n, n)
        means[i] = sums[drawn].sum() / max(1.0, counts[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(sums.sum() / max(1.0, counts.sum())), "low": float(low), "high": float(high)}
