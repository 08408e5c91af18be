"""What a study asks of a cluster, and whether the cluster has it: tags that no node offers, asks larger than any node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from paretune.core.errors import SpecError, SpecProblem
from paretune.platform.clusters.model import Cluster, NodeType, Resources
from paretune.platform.execution.device_resources import DeviceChoice
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.nodes import Loc
from paretune.platform.spec.suggest import did_you_mean
from paretune.platform.study.plan import Plan
from paretune.platform.study.staffing import plan_staffing

TRAINING = "a candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One thing that must find room on one machine."""

    what: str
    """`a candidate`, or `the device of 'pi4'`."""
    resources: Resources
    loc: Loc
    """Where the spec asks for it."""
    count: int = 1
    """So many of them at the same time, at most."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the machine must carry."""
    or_cpu: bool = False
    """Whether it also does without a GPU."""


def study_demands(plan: Plan) -> tuple[Demand, ...]:
    """Everything that a study asks for: room for the training of a candidate and for the actor of each device that measures."""
    staffing = plan_staffing(plan.spec, tuple(plan.devices))
    training = Demand(what=TRAINING, resources=staffing.training, loc=("run", "resources", "training"), or_cpu=staffing.or_cpu)
    return (training, *(_device(name, choice) for name, choice in staffing.devices.items()))


def _device(name: str, choice: DeviceChoice) -> Demand:
    needed = choice.resources
    amounts = {"CPU": float(needed.processors), "GPU": needed.gpus, needed.tag: 1.0}
    return Demand(
        what=f"the device of '{name}'",
        resources={resource: amount for resource, amount in amounts.items() if resource and amount},
        labels=needed.labels,
        loc=("hardware", name),
        count=choice.count,
    )


def settled(cluster: Cluster, demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """The demands as the study will make them on this cluster: without a GPU where there is none and the study allows it."""
    return tuple(_without_gpu(item) if item.or_cpu and unmet(cluster, item) else item for item in demands)


def _without_gpu(demand: Demand) -> Demand:
    return replace(demand, resources={name: amount for name, amount in demand.resources.items() if name != "GPU"})


def refuse_unmet(cluster: Cluster, demands: Iterable[Demand], loaded: LoadedSpec) -> None:
    """Refuse a study that would wait for ever on this cluster, since Ray only warns.

    Raises:
        SpecError: each demand that no machine meets, at the field of the spec that asks for it.
    """
    problems = [_problem(loaded, demand, message) for demand in demands if (message := unmet(cluster, demand))]
    if problems:
        raise SpecError(loaded.file, problems)


def _problem(loaded: LoadedSpec, demand: Demand, message: str) -> SpecProblem:
    return loaded.problem(demand.loc, message)


def unmet(cluster: Cluster, demand: Demand) -> str | None:
    """Why the cluster can never meet a demand; None where it can."""
    usable = [item for item in cluster.node_types if item.max_nodes > 0 and item.carries(demand.labels)]
    if demand.labels and not usable:
        labels = ", ".join(f"{name}={value}" for name, value in demand.labels.items())
        return f"{demand.what} needs a machine with the labels {labels}, and no node type of {cluster.file} carries them"
    offered = sorted({name for item in usable for name, amount in item.resources.items() if amount > 0})
    missing = [name for name in demand.resources if demand.resources[name] > 0 and name not in offered]
    asked = _listed(demand.resources)
    if missing:
        hints = "".join(did_you_mean(name, offered, synonyms={}) for name in missing)
        known = ", ".join(offered) or "none offered"
        return f"{demand.what} needs {asked}, and no node type of {cluster.file} offers {', '.join(missing)}.{hints} ({known})"
    slots = {item.name: item.slots(demand.resources) * _most(cluster, item) for item in usable}
    if not any(slots.values()):
        lacking = "; ".join(
            f"{item.name} has {_listed({name: item.resources.get(name, 0.0) for name in demand.resources})}" for item in usable
        )
        return f"{demand.what} needs {asked} on one machine, more than any node type of {cluster.file} has: {lacking}"
    if sum(slots.values()) < demand.count:
        room = sum(slots.values())
        return f"{demand.count} times {asked} are asked for at the same time for {demand.what}; {cluster.file} has room for {room}"
    return None


def _most(cluster: Cluster, item: NodeType) -> int:
    """Machines of a type that can be there at the same time."""
    return item.max_nodes if item.is_head or item.hosts else min(item.max_nodes, cluster.max_workers)


def _listed(resources: Resources) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in resources.items()) or "nothing"
