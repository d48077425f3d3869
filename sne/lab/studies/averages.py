"""Methods that average the predictions of others, and train nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Result


def average_outcome(method: Method, parts: Sequence[Outcome]) -> Outcome:
    """The outcome of a method that averages what others predict for the same networks, seed by seed.

    Args:
        method: which averages.
        parts: outcomes of its parts on one held-out set.

    Returns:
        "cannot" where a part cannot, or where classes are predicted; "failed" where a part has failed.
    """
    first = parts[0]
    for status in ("cannot", "failed"):
        worst = next((part for part in parts if part.status == status), None)
        if worst is not None:
            reason = f"{worst.method.label}: {worst.reason}"
            return Outcome(first.task, first.held_out, method, [], status, reason, None)
    if first.measured.dtype == object:
        reason = f"{first.task.target} has classes, which have no average"
        return Outcome(first.task, first.held_out, method, [], "cannot", reason, None)
    results = [
        _average(method, first.held_out.name, several) for several in zip(*(p.results for p in parts), strict=True)
    ]
    return Outcome(first.task, first.held_out, method, results, "done", None, 0)


def _average(method: Method, held_out: str, results: Sequence[Result]) -> Result:
    """One seed's result; costs are those of all parts together."""
    judged = [result["held_out"][held_out] for result in results]
    predicted = np.mean([part["predicted"] for part in judged], axis=0)

    def total(values: Sequence[Any]) -> Any:
        return None if any(value is None for value in values) else sum(values)

    return {
        **results[0],
        "job": {**results[0]["job"], "method": method.name, "configuration": 0, "settings": {}},
        "validation": None,
        **{key: total([result[key] for result in results]) for key in ("seconds", "cpu_seconds", "parameters")},
        "held_out": {
            held_out: {
                **{key: judged[0][key] for key in ("status", "reason", "runs", "measured")},
                "predicted": predicted.tolist(),
                "ms_per_network": sum(part["ms_per_network"] for part in judged),
            }
        },
    }
