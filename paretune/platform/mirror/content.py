"""What a study and its candidates look like as MLflow runs; plain values, decided by the ledger alone."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from paretune.core.genotype import Decision
from paretune.core.trial import Outcome
from paretune.platform.mirror.names import entity_name, metric_name, metric_value, tag_text
from paretune.platform.record.header import Header
from paretune.platform.record.history import History, Record
from paretune.platform.record.jobs import Job, Purpose
from paretune.platform.record.redaction import redacted
from paretune.platform.record.summary import Progress, status

STUDY_TAG, STUDY_ID_TAG, KEY_TAG, FRONT_TAG = "paretune.study", "paretune.study_id", "paretune.key", "paretune.front"
PURPOSE_TAG, OUTCOME_TAG, CHOICE_TAG = "paretune.purpose", "paretune.outcome", "paretune.choice."
NOTE_TAG = "mlflow.note.content"
FAILED = frozenset(Outcome) - {Outcome.OK, Outcome.INFEASIBLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a metric."""

    name: str
    value: float
    step: int
    offset_ms: int
    """Time since the start of the run, from the ledger, so that logging it again gives the same point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """One run."""

    key: str
    """Tells the run apart in its study."""
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    duration_ms: int = 0
    failed: bool = False


def study_content(header: Header, study_id: str) -> RunContent:
    """The parent run, as it is when the study begins."""
    spec = header.spec
    params = {part: _plugin_name(spec[part]) for part in ("task", "space", "searcher") if part in spec}
    params |= {"seed": str(spec["seed"])} if "seed" in spec else {}
    for item in header.problem.objectives:
        params[f"reference.{metric_name(item.metric)}"] = repr(metric_value(item.metric, item.reference))
    tags = {STUDY_TAG: tag_text(header.name), STUDY_ID_TAG: study_id, KEY_TAG: "study", "paretune.protocol": header.protocol}
    tags |= {f"paretune.{entity_name(name)}": tag_text(value) for name, value in header.provenance.items()}
    return RunContent(key="study", name=tag_text(header.name), tags={**tags, NOTE_TAG: description(header)}, params=params)


def choice_tag(decision: str) -> str:
    """The tag that holds the choice of a decision whose choices are no numbers: as a param it would spoil MLflow's parallel coordinates."""
    return CHOICE_TAG + entity_name(decision)


def candidate_content(record: Record, header: Header, *, study_id: str, on_front: bool) -> RunContent:
    """A finished candidate or final training as a child run; link and times come from whoever writes it.

    Numeric decisions are its params, which the UI draws as axes; the others are tags, which it filters and groups by.
    """
    job, evaluation = record.job, record.evaluation
    assert evaluation is not None
    final = job.purpose is Purpose.FINAL
    tags = {
        STUDY_TAG: tag_text(header.name),
        STUDY_ID_TAG: study_id,
        KEY_TAG: job.id,
        PURPOSE_TAG: job.purpose.value,
        "paretune.candidate": str(job.ask_index),
        OUTCOME_TAG: evaluation.outcome.value,
        "paretune.genotype": tag_text(json.dumps(list(job.genotype), separators=(",", ":"))),
        "paretune.seed": str(job.seed),
    }
    tags |= {} if final else {FRONT_TAG: _text(on_front)}
    tags |= {"paretune.epochs": f"{job.epochs} of {job.schedule_epochs}"} if job.schedule_epochs else {}
    tags |= {"paretune.message": tag_text(evaluation.message)} if evaluation.message else {}
    tags |= {"paretune.worker": tag_text(evaluation.worker)} if evaluation.worker else {}
    numeric = _numeric(header.decisions)
    tags |= {choice_tag(name): tag_text(str(choice)) for name, choice in record.choices.items() if name not in numeric}
    params = {entity_name(name): str(choice) for name, choice in record.choices.items() if name in numeric}
    duration_ms = max(round(1000 * evaluation.duration_s), 0)
    points = [
        Point(name=metric_name(name), value=metric_value(name, value), step=0, offset_ms=duration_ms)
        for name, value in evaluation.metrics.items()
        if math.isfinite(value)
    ]
    return RunContent(
        key=job.id,
        name=f"final {job.ask_index} seed {job.seed_index}" if final else f"candidate {job.ask_index}{_how_far(job)}",
        tags=tags,
        params=params,
        points=(*points, *_curve(evaluation.details.get("curve"), duration_ms)),
        duration_ms=duration_ms,
        failed=evaluation.outcome in FAILED,
    )


@lru_cache(maxsize=4)
def _numeric(decisions: tuple[Decision, ...]) -> frozenset[str]:
    """Names of the decisions whose choices are numbers."""
    return frozenset(decision.name for decision in decisions if decision.is_numeric)


def _how_far(job: Job) -> str:
    """What tells the rungs of one candidate apart; the full training has the plain name."""
    return "" if job.is_full else f" after {job.epochs} of {job.schedule_epochs} epochs"


def progress_points(steps: Sequence[Progress], best: Sequence[Mapping[str, float]]) -> list[Point]:
    """Metrics of the parent run: hypervolume, size of the front and best feasible values after each result."""
    points = []
    for step, values in zip(steps, best, strict=True):
        shown = {"hypervolume": step.hypervolume, "front_size": float(step.front_size)}
        shown |= {f"best.{metric_name(name)}": metric_value(name, value) for name, value in values.items()}
        offset_ms = round(1000 * step.elapsed_s)
        points += [Point(name=name, value=value, step=step.num_finished, offset_ms=offset_ms) for name, value in shown.items()]
    return points


def status_tags(history: History) -> dict[str, str]:
    """Tags of the parent run that change while the study runs."""
    outcomes = Counter(record.outcome.value for record in history.arrivals() if record.outcome)
    tags = {
        "paretune.status": status(history),
        "paretune.screened": str(history.num_screened),
        "paretune.sessions": str(history.num_sessions),
    }
    tags |= {f"paretune.count.{name}": str(count) for name, count in sorted(outcomes.items())}
    return tags | {f"paretune.phase.{entity_name(name)}": tag_text(reason) for name, reason in history.phases.items()}


def spec_text(header: Header) -> str:
    """The spec as an artifact."""
    changes = [f"# changed on the command line: {path}: {json.dumps(value)}\n" for path, value in header.overrides.items()]
    return redacted("".join(changes) + (header.spec_text or json.dumps(dict(header.spec), indent=2)))


def description(header: Header, links: Mapping[str, str] | None = None) -> str:
    """What the names in the runs mean, as Markdown, with links to pages of the UI by their titles."""
    rows = [f"| `{metric_name(name)}` | {_cell(metric.description)} |" for name, metric in header.metrics.items()]
    objectives = header.problem.objectives
    references = ", ".join(f"{metric_name(item.metric)} = {metric_value(item.metric, item.reference):g}" for item in objectives)
    lines = [
        f"Study **{_cell(header.name)}**, mirrored from its ledger, which is the truth; this page may lag behind it.",
        "",
        f"`hypervolume` is against the reference point ({references}), in the product of the objectives' SI units; "
        "its step counts results. "
        f"Candidates are the child runs; `tags.{FRONT_TAG} = 'true'` marks the Pareto front. "
        "Candidates that a limit on free costs stopped have no run.",
        "",
        *([" · ".join(f"[{title}]({address})" for title, address in links.items()), ""] if links else []),
        "| metric | meaning |",
        "|---|---|",
        *rows,
    ]
    return tag_text("\n".join(lines))


def _plugin_name(value: Any) -> str:
    return str(value.get("name") or value.get("kind")) if isinstance(value, Mapping) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("<", "&lt;").replace("\n", " ")


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _curve(curve: Any, duration_ms: int) -> list[Point]:
    """A learning curve as points, one step an epoch; what is no finite number is left out."""
    epochs = [epoch for epoch in curve if isinstance(epoch, Mapping)] if isinstance(curve, list | tuple) else []
    points = []
    for number, epoch in enumerate(epochs, start=1):
        for name, value in epoch.items():
            if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                offset_ms = duration_ms * number // len(epochs)
                points.append(Point(name=f"curve.{metric_name(name)}", value=metric_value(name, value), step=number, offset_ms=offset_ms))
    return points
