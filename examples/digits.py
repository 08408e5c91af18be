"""The study of studies/digits.yaml through Python, smaller."""

import paretune

spec = {
    "version": 1,
    "name": "digits-python",
    "task": {"name": "digits"},
    "space": {"name": "digits_conv"},
    "hardware": {"host": {"kind": "host"}},
    "objectives": [{"metric": "accuracy", "goal": "max", "reference": 0.9}, {"metric": "host.latency_ms", "goal": "min", "reference": 0.2}],
    "searcher": {"name": "nsga2", "population": 8},
    "budget": {"trials": 16},
    "training": {"epochs": 3},
}
result = paretune.run(spec)
print(*result.front, f"report: {result.report}", sep="\n")
