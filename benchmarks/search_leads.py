"""How far a method is ahead of the best peer on each task, and the table of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from search_store import Store, best_peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A method against the peer with the highest mean on a task."""

    task: str
    peer: str
    gap: float
    """Difference of the mean hypervolumes."""
    errors: float
    """The same in standard errors of the difference (Welch)."""
    bounded_errors: float
    """The same with a peer that counts no more than the bound of the task: beyond it, it was lucky with the signal's noise."""


def leads(store: Store, method: str, peers: Sequence[str], bounds: Mapping[str, float], mark: int) -> list[Lead]:
    """One for each task on which a peer was run; NaN where the method was not.

    Args:
        store: the runs.
        method: whose lead.
        peers: over the best of which.
        bounds: task -> what one who knows the whole signal gets.
        mark: after so many evaluations.
    """
    found = []
    for task, bound in bounds.items():
        best = best_peer(store, task, peers, mark)
        if best is None:
            continue
        (peer, theirs), own = best, store.volume(task, method, mark)
        bounded = own.z_against(replace(theirs, mean=min(theirs.mean, bound)))
        found.append(Lead(task=task, peer=peer, gap=own.mean - theirs.mean, errors=own.z_against(theirs), bounded_errors=bounded))
    return found


def worst_errors(found: Sequence[Lead]) -> float:
    """The smallest bounded lead in standard errors; NaN for none, or if the method was not run everywhere."""
    errors = [lead.bounded_errors for lead in found]
    return math.nan if not errors or any(math.isnan(error) for error in errors) else min(errors)


def leads_table(found: Mapping[tuple[str, int], Sequence[Lead]]) -> str:
    """A row for each method and number of evaluations, in Markdown; those that were not run everywhere are left out."""
    lines = [
        "### Leads over the best peer of each task",
        "",
        "| method | evaluations | tasks | mean below the peer's | mean lead | smallest lead | in errors, peer bounded | on | peer |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (method, mark), listed in found.items():
        if math.isnan(worst_errors(listed)):
            continue
        worst, least = min(listed, key=lambda lead: lead.bounded_errors), min(lead.gap for lead in listed)
        cells = [method, mark, len(listed), sum(lead.gap < 0 for lead in listed), f"{fmean(lead.gap for lead in listed):+.4f}"]
        cells += [f"{least:+.4f}", f"{worst.bounded_errors:+.2f}", worst.task, worst.peer]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
