"""Records of a fit: what skorch's history holds of each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from skorch.history import History


def record_with_best(history: History, name: str, value: float, *, lower_is_better: bool) -> None:
    """Record a value of the last epoch as `name`, and whether it is the best yet as `name`_best.

    Parameters
    ----------
    history : skorch.history.History
    name : str
    value : float
    lower_is_better : bool
    """
    best = f"{name}_best"
    earlier = itertools.islice(reversed(history), 1, None)
    # The last that was the best when it came is the best of all earlier ones.
    standing = next((epoch[name] for epoch in earlier if epoch.get(best)), None)
    better = standing is None or (value < standing if lower_is_better else value > standing)
    history.record(name, value)
    history.record(best, better)


def without_batches(history: Sequence[Mapping[str, Any]]) -> History:
    """Copy a history, all but the records of its batches."""
    return History({**epoch, "batches": []} for epoch in history)


def without_durations(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copy the epochs of a history, all but the time that each took, in which equal fits differ."""
    return [{name: value for name, value in epoch.items() if name != "dur"} for epoch in history]
