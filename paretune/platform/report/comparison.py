"""Which studies may be drawn into one figure."""

from paretune.core.errors import BadInput
from paretune.platform.record.history import History
from paretune.platform.report.facts import limit_text


def check_comparable(history: History, other: History) -> None:
    """Refuse to compare studies of different problems.

    Raises:
        BadInput: objectives, limits or protocol differ; the message names the difference.
    """
    mine, theirs = (
        {
            "objectives": ", ".join(f"{item.metric} {item.direction.value}" for item in study.problem.objectives),
            "limits": ", ".join(sorted(limit_text(item) for item in study.problem.constraints)) or "none",
            "protocol digest (task, data, space, hardware, training)": study.header.protocol,
        }
        for study in (history, other)
    )
    differences = [f"{name}: {mine[name]} here, {theirs[name]} there" for name in mine if mine[name] != theirs[name]]
    if differences:
        hint = _spec_difference(history, other)
        raise BadInput(f"'{other.header.name}' cannot be compared with '{history.header.name}': {'; '.join(differences)}{hint}")


def _spec_difference(history: History, other: History) -> str:
    """Parts of the spec that explain another protocol."""
    parts = ("task", "space", "hardware", "training")
    changed = [part for part in parts if history.header.spec.get(part) != other.header.spec.get(part)]
    return f". Different in the specs: {', '.join(changed)}" if changed else ""
