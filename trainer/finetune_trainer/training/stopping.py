"""Early stopping and the best checkpoint: the evaluations so far, and a copy of the best weights."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..model.checkpoint import BEST_FILE, result_files, weights_file


@dataclass
class EarlyStopping:
    """The evaluations so far. `best` is the lowest eval/loss, at `best_step`; `worse` counts those since. The same on
    all ranks.
    """

    best: float | None = None
    best_step: int | None = None
    worse: int = 0

    def look(self, step: int, loss: float) -> bool:
        """Adds an evaluation; True when it is the best so far. A loss that is not finite never is."""
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            self.best, self.best_step, self.worse = loss, step, 0
            return True
        self.worse += 1
        return False

    def over(self, patience: int | None) -> bool:
        """Whether `patience` evaluations in a row (None: any number) did not improve."""
        return patience is not None and self.worse >= patience

    def message(self, step: int) -> str:
        """Why the run ends at this step, for its log."""
        best = "no loss was finite" if self.best is None else f"the best was {self.best:.4g} at step {self.best_step}"
        return f"ended early after step {step}: eval/loss did not improve in {self.worse} evaluations; {best}"

    def state(self) -> dict[str, Any]:
        """The evaluations so far as JSON, for the checkpoint."""
        return asdict(self)


class BestWeights:
    """The adapter or model of the best evaluation so far, in its own directory: the checkpoint it came with may be
    deleted by the end.
    """

    def __init__(self, scratch: Path) -> None:
        self.directory = scratch / "best"

    def keep(self, checkpoint: Path) -> None:
        """Keeps the adapter or model of a checkpoint."""
        self._fill(checkpoint, weights_file(checkpoint))

    def restore(self, checkpoint: Path) -> None:
        """Restores the best weights that a checkpoint carries, or its own when those were the best."""
        carried = checkpoint / BEST_FILE
        self._fill(checkpoint, carried if carried.is_file() else weights_file(checkpoint))

    def weights(self) -> Path | None:
        """The best weights, or None while there are none."""
        path = weights_file(self.directory)
        return path if path.is_file() else None

    def _fill(self, checkpoint: Path, weights: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        place = weights_file(checkpoint).name
        for name in result_files(checkpoint):
            shutil.copyfile(weights if name == place else checkpoint / name, self.directory / name)
