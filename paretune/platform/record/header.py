"""The header of a study: what it is, written once as the first event of its ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a study is, written once when it is created."""

    name: str
    spec: Mapping[str, Any]
    """The spec as canonical JSON values."""
    spec_text: str
    """The user's file, word for word; empty when the study came from Python."""
    decisions: tuple[Decision, ...]
    problem: Problem
    metrics: Mapping[str, Metric]
    """Everything an evaluation reports, by inner name."""
    protocol: str
    """Digest of what decides a result beside the architecture; see `JobFactory`."""
    provenance: Mapping[str, str]
    """Versions, host, data digest, commit."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Field path -> value that replaced the file's, for example by `--set`."""

    @property
    def num_start(self) -> int:
        """Candidates that the spec gives the search to start from."""
        return sum(len(group["candidates"]) for group in self.spec.get("searcher", {}).get("start", ()))

    @property
    def final_epochs(self) -> int | None:
        """Epochs of a final training, as the spec is now; None where it does not say."""
        epochs = (self.spec.get("final") or self.spec.get("training") or {}).get("epochs")
        return int(epochs) if epochs is not None else None

    def as_json(self) -> dict[str, Any]:
        """The header as JSON values."""
        problem = {
            "objectives": [
                {"metric": item.metric, "direction": item.direction.value, "reference": item.reference} for item in self.problem.objectives
            ],
            "constraints": [
                {"metric": item.metric, "upper": _limit(item.upper), "lower": _limit(item.lower)} for item in self.problem.constraints
            ],
        }
        metrics = {
            name: {
                "unit": metric.unit,
                "direction": metric.direction.value,
                "lower": _limit(metric.lower),
                "upper": _limit(metric.upper),
                "description": metric.description,
                "free": metric.free,
                "source": metric.source,
            }
            for name, metric in self.metrics.items()
        }
        return {
            "name": self.name,
            "spec": dict(self.spec),
            "spec_text": self.spec_text,
            "decisions": [{"name": item.name, "choices": list(item.choices), "ordinal": item.ordinal} for item in self.decisions],
            "problem": problem,
            "metrics": metrics,
            "protocol": self.protocol,
            "provenance": dict(self.provenance),
            "overrides": dict(self.overrides),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Header":
        """The inverse of `as_json`."""
        problem = Problem(
            objectives=tuple(
                Objective(metric=item["metric"], direction=Direction(item["direction"]), reference=item["reference"])
                for item in values["problem"]["objectives"]
            ),
            constraints=tuple(
                Constraint(metric=item["metric"], upper=_bound(item["upper"], 1), lower=_bound(item["lower"], -1))
                for item in values["problem"]["constraints"]
            ),
        )
        metrics = {
            name: Metric(
                name=name,
                unit=item["unit"],
                direction=Direction(item["direction"]),
                lower=_bound(item["lower"], -1),
                upper=_bound(item["upper"], 1),
                description=item["description"],
                free=item["free"],
                source=item.get("source", ""),
            )
            for name, item in values["metrics"].items()
        }
        decisions = tuple(
            Decision(name=item["name"], choices=tuple(item["choices"]), ordinal=item["ordinal"]) for item in values["decisions"]
        )
        return cls(
            name=values["name"],
            spec=values["spec"],
            spec_text=values["spec_text"],
            decisions=decisions,
            problem=problem,
            metrics=metrics,
            protocol=values["protocol"],
            provenance=values["provenance"],
            overrides=values["overrides"],
        )


def _limit(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else value


def _bound(value: float | None, sign: int) -> float:
    return sign * float("inf") if value is None else value
