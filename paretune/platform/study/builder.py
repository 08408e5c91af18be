"""Makes the plugins that a spec names, and gathers what goes wrong with the places in the file."""

import re
from typing import Any

from paretune.core.errors import BadInput, BadOptions, SpecProblem
from paretune.core.protocols import SearchSpace, Task
from paretune.core.registry import Registry
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.nodes import Loc, MapNode, dotted, find
from paretune.platform.spec.options import option_values
from paretune.platform.spec.plugins import PluginSpec
from paretune.platform.study.evaluation import Devices, EvaluationPlan, plan_evaluation


class Builder:
    """Makes plugins and gathers what goes wrong, with places."""

    def __init__(self, loaded: LoadedSpec) -> None:
        self.loaded = loaded
        self.problems: list[SpecProblem] = []
        self.notes: list[str] = []

    def add(self, found: tuple[list[tuple[Loc, str]], list[str]]) -> None:
        """Keep findings; one on a section is dropped where a field of the section is known to be wrong."""
        problems, notes = found
        for loc, message in problems:
            if not any(problem.path.startswith(f"{dotted(loc)}.") for problem in self.problems):
                self.problems.append(self.loaded.problem(loc, message))
        self.notes += notes

    def create(self, registry: Registry, loc: Loc, chosen: PluginSpec, name: str, *positional: object, **supplied: object) -> Any:
        """A plugin, or None where it refuses its options; the reason is kept."""
        try:
            return registry.create(name, *positional, **option_values(registry, name, chosen.options), **supplied)
        except BadInput as error:
            self.refuse(loc, chosen, error)
            return None

    def evaluation(self, task: Task, space: SearchSpace, devices: Devices) -> EvaluationPlan | None:
        """How candidates are evaluated, or None where the task does not fit the space; the reasons are kept."""
        try:
            found = plan_evaluation(self.loaded.spec, task, space, devices=devices)
        except BadInput as error:
            self.refuse(("task",), self.loaded.spec.task, error)
            return None
        self.add((list(found.problems), list(found.notes)))
        return found

    def refuse(self, loc: Loc, chosen: PluginSpec, error: BadInput) -> None:
        """Keep a plugin's refusal at the options it names (`option: message`, or `BadOptions`), or at the plugin."""
        if isinstance(error, BadOptions):
            self.problems += [self.loaded.problem((*loc, *way), told) for way, told in error.problems]
            return
        message = str(error)
        named = re.match(r"(\w+): (.*)", message, re.DOTALL)
        if named is None or named[1] not in chosen.options:
            self.problems.append(self.loaded.problem(loc, message))
            return
        option, told = named[1], named[2]
        value = chosen.options[option]
        is_percent = isinstance(value, int | float) and 1 < value <= 100 and re.search(r"\b0 (and|to) 1\b", told)
        hint = f". Did you mean {value / 100:g}?" if is_percent else ""
        _, node, _ = find(self.loaded.root, loc)
        if isinstance(node, MapNode) and option in node.entries:
            self.problems.append(self.loaded.problem((*loc, option), f"{told}{hint}"))
        else:
            self.problems.append(self.loaded.problem(loc, f"{message}{_set_elsewhere(chosen)}"))


def _set_elsewhere(chosen: PluginSpec) -> str:
    """Where the options are that the spec does not have."""
    target = getattr(chosen, "target", None)
    return f" (in target '{target}')" if target else ""
