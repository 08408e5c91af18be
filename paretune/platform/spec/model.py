"""The spec of a study as a pydantic model: what may be said, of which type, within which limits.

One model serves two forms. The *written* form comes from nodes (`Scalar`s, by alias: `time: 15m`); the *stored* form is what
`model_dump(mode="json")` gives (by name: `time_s: 900.0`, SI units) and what the ledger keeps. Values in the model are always inner ones.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WrapValidator, field_validator, model_validator

from paretune.core.metrics import Direction, si_name, unit_of
from paretune.platform.spec.environment import check_tracking_uri
from paretune.platform.spec.nodes import Scalar, shortened
from paretune.platform.spec.options import null_is_none
from paretune.platform.spec.plugins import DerivedSpec, SearcherSpec, Section, SpaceSpec, Tag, TargetSpec, TaskSpec, Text, at_key
from paretune.platform.spec.suggest import GOALS
from paretune.platform.spec.values import (
    duration,
    expect_scalar,
    memory_size,
    mistake,
    one_of,
    quantity,
    real_number,
    study_name,
    whole_number,
    yes_no,
)

VERSION = 1
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
YEAR_S = 366 * 86400.0


def auto_or(reader: Any) -> Any:
    """A reader of `auto` (None inside) or a value."""

    def read(value: object) -> object:
        if isinstance(value, Scalar) and value.text.lower() == "auto":
            return None
        if isinstance(value, Scalar) and value.text.isalpha():
            raise mistake(
                f"got '{shortened(value.text)}'; expected auto or {'a number' if reader is whole_number else 'a size such as 2GiB'}"
            )
        return reader(value)

    return read


def _tracking_uri(value: object) -> object:
    if isinstance(value, dict | list):
        raise mistake("expected a text such as sqlite:///mlflow.db, or none to switch tracking off")
    scalar = expect_scalar(value, "a text such as sqlite:///mlflow.db, none to switch tracking off,")
    if scalar is None:
        return value
    return None if scalar.text.lower() in ("none", "off", "no", "false") else check_tracking_uri(scalar.text)


Whole = Annotated[int, BeforeValidator(whole_number)]
Duration = Annotated[float, BeforeValidator(duration)]
TargetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,30}$")]


def _in_metric_units(value: object, info: ValidationInfo) -> object:
    metric = info.data.get("shown_metric")
    if not isinstance(metric, str):
        return 0.0 if isinstance(value, Scalar) else value  # the metric's own mistake is reported; the value cannot be judged
    inner, factor = si_name(metric)
    return quantity(value, metric=metric, unit=unit_of(inner), factor=factor)


Quantity = Annotated[float, Field(allow_inf_nan=False)]


class OnMetric(Section):
    """Something said of a metric."""

    shown_metric: Text = Field(alias="metric", examples=["metric: accuracy"])
    """The metric as the user wrote it; its suffix decides the unit in which people see it."""

    @property
    def metric(self) -> str:
        """Inner (SI) name of the metric."""
        return si_name(self.shown_metric)[0]


class ObjectiveSpec(OnMetric):
    """A metric to make as large or as small as possible."""

    goal: Annotated[Literal["max", "min"], BeforeValidator(one_of(("max", "min"), synonyms=GOALS))] = Field(examples=["goal: max"])
    reference: Quantity = Field(examples=["reference: 0.8, the worst value that still counts"])
    """This objective's part of the reference point, SI."""

    _reference = field_validator("reference", mode="before")(_in_metric_units)

    @property
    def direction(self) -> Direction:
        """`goal` as the core has it."""
        return Direction(self.goal)


class ConstraintSpec(OnMetric):
    """A limit that every network on the front must meet."""

    max: Quantity | None = None
    """Largest value allowed, SI."""
    min: Quantity | None = None
    """Smallest value allowed, SI."""

    _limits = field_validator("max", "min", mode="before")(_in_metric_units)

    @model_validator(mode="after")
    def _some_value_is_left(self) -> "ConstraintSpec":
        if self.max is not None and self.min is not None and self.min > self.max:
            raise at_key("max", f"no value of {self.shown_metric} is at least min and at most max; swap them?")
        return self


class BudgetSpec(Section):
    """When the search ends: at whichever limit comes first."""

    trials: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    """Candidates really evaluated."""
    time_s: Annotated[Duration, Field(ge=1, le=YEAR_S)] | None = Field(default=None, alias="time")
    """Wall time of the search, without the final training."""


class TrainingSpec(Section):
    """How a candidate is trained during the search."""

    epochs: Annotated[Whole, Field(ge=1, le=100_000)] = Field(examples=["epochs: 5"])
    hardware_aware: Annotated[Text | None, WrapValidator(null_is_none)] = None
    """Target whose errors the networks are trained with; None trains as usual."""
    analog_update: Annotated[bool, BeforeValidator(yes_no)] = False
    """Whether the target's devices take the steps themselves, instead of a computer that knows of their errors."""


class FidelitySpec(Section):
    """How a search at several fidelities trains: all candidates a little, the best of each rung eta times as long."""

    min_epochs: Annotated[Whole, Field(ge=1, le=100_000)] = 1
    """Epochs of every candidate; `training.epochs` are those of a full training."""
    eta: Annotated[Whole, Field(ge=2, le=100)] = 3
    """Of how many candidates one goes on."""
    cohort: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Candidates compared with each other in `mode: sync`; None is decided by the rungs."""
    extrapolate: Annotated[bool, BeforeValidator(yes_no)] = False
    """Whether candidates are compared by the accuracy that their learning curves lead to, instead of the one they have."""

    _cohort = field_validator("cohort", mode="before")(auto_or(whole_number))


class FinalSpec(Section):
    """How the networks of the front are trained after the search; the test set is used here, once."""

    epochs: Annotated[Whole, Field(ge=1, le=100_000)] = Field(examples=["epochs: 20"])
    seeds: Annotated[Whole, Field(ge=1, le=100)] = 3
    """Fresh seeds for each network."""


class TrainingResources(Section):
    """What the training of one candidate takes of a node."""

    cpu: Annotated[float, BeforeValidator(real_number), Field(ge=0, le=1024)] = 1.0
    """Processors."""
    gpu: Annotated[float, BeforeValidator(real_number), Field(ge=0, le=64)] = 0.0
    """GPUs; 0.5 lets two candidates share one."""
    or_cpu: Annotated[bool, BeforeValidator(yes_no)] = False
    """Whether it trains without a GPU where the cluster has none."""
    tag: Tag | None = None
    """Custom resource of the nodes that train, one for each candidate; None is any node."""

    @model_validator(mode="after")
    def _possible(self) -> "TrainingResources":
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise at_key("gpu", f"{self.gpu:g} GPUs: a share of one, or whole ones; Ray does not split what lies over several")
        if self.cpu == 0 and self.gpu == 0 and self.tag is None:
            raise at_key("cpu", "a candidate that takes nothing could be trained any number of times at once; give cpu, gpu or tag")
        return self


class ResourcesSpec(Section):
    """What the stages of a candidate take of the cluster; those that measure say it at their hardware (`tag`, `count`)."""

    training: TrainingResources = Field(default_factory=TrainingResources)
    nodes_come: Annotated[bool, BeforeValidator(yes_no)] = False
    """Whether nodes join by themselves although paretune sees no autoscaler: under KubeRay, or far from the head."""


def _absolute(value: str | None) -> str | None:
    if value is not None and not value.startswith("/"):
        raise mistake(f"'{value}' is relative; write the folder as every node sees it, such as /shared/runs")
    return value


class RunSpec(Section):
    """How the search is executed; except for `mode`, no result depends on it."""

    mode: Annotated[Literal["sync", "async"], BeforeValidator(one_of(("sync", "async"), synonyms={}))] = "sync"
    """`sync`: the same candidates for any number of workers; `async`: no worker waits, the order is in the ledger."""
    workers: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Trials at the same time; None is as many as the cluster has room for."""
    trial_timeout_s: Annotated[Duration, Field(ge=1, le=YEAR_S)] = Field(default=600.0, alias="trial_timeout")
    """A trial that runs longer is ended."""
    retries: Annotated[Whole, Field(ge=0, le=100)] = 2
    """Times that a crashed trial is started again."""
    memory_bytes: Annotated[int, Field(ge=16 * 2**20, le=2**50)] | None = Field(default=None, alias="memory")
    """Limit of a trial; None is decided by paretune."""
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    device_wait_s: Annotated[Duration, Field(ge=1, le=YEAR_S)] = Field(default=120.0, alias="device_wait")
    """How long trained candidates wait once no device of a target is left, before the search pauses; with an autoscaler without end."""
    release_s: Annotated[Duration, Field(ge=1, le=YEAR_S)] = Field(default=300.0, alias="release")
    """After how long without work a worker, or a device with a tag, is let go, so that its node may end."""

    _workers = field_validator("workers", mode="before")(auto_or(whole_number))
    _memory = field_validator("memory_bytes", mode="before")(auto_or(memory_size))


class TrackingSpec(Section):
    """Where MLflow records what happens."""

    uri: Annotated[str | None, BeforeValidator(_tracking_uri)] = DEFAULT_TRACKING_URI
    """MLflow tracking URI, with `${env:NAME}` unresolved; None switches tracking off."""


class StudySpec(Section):
    """Everything that defines a study."""

    version: Annotated[Whole, Field(ge=1)] = Field(examples=["version: 1"])
    """Version of the spec's form."""
    name: Annotated[str, BeforeValidator(study_name)] = Field(examples=["name: my-study"])
    """Folder of the study and experiment in MLflow."""
    seed: Annotated[Whole, Field(ge=0, le=2**63 - 1)]
    """Decides every random draw."""
    task: TaskSpec = Field(examples=["task: {name: digits}"])
    space: SpaceSpec = Field(examples=["space: {name: digits_conv}"])
    hardware: dict[TargetName, TargetSpec] = Field(default_factory=dict)
    """Target name -> hardware; its metrics are `TARGET.METRIC`."""
    derived: dict[TargetName, DerivedSpec] = Field(default_factory=dict)
    """Name of a new metric -> how it is worked out; later ones may use earlier ones."""
    objectives: tuple[ObjectiveSpec, ...] = Field(
        min_length=1, max_length=8, examples=["objectives: [{metric: accuracy, goal: max, reference: 0.8}]"]
    )
    constraints: Annotated[tuple[ConstraintSpec, ...], Field(max_length=64)] = ()
    searcher: SearcherSpec = Field(default_factory=lambda: SearcherSpec(name="auto"), examples=["searcher: {name: nsga2}"])
    """`auto` chooses by space and objectives."""
    budget: BudgetSpec = Field(examples=["budget: {trials: 64}"])
    training: TrainingSpec = Field(examples=["training: {epochs: 5}"])
    fidelity: Annotated[FidelitySpec | None, WrapValidator(null_is_none)] = None
    """None: every candidate is trained fully."""
    final: Annotated[FinalSpec | None, WrapValidator(null_is_none)] = None
    """None: the front is not trained again."""
    run: RunSpec = Field(default_factory=RunSpec)
    tracking: TrackingSpec = Field(default_factory=TrackingSpec)
    storage: Text = "runs"
    """Folder that holds one folder for each study."""
    shared: Annotated[Text | None, AfterValidator(_absolute), WrapValidator(null_is_none)] = None
    """Folder that every node of a cluster sees, for results, checkpoints and a copy of the ledger; None: `storage` is such a folder."""

    @field_validator("version", mode="after")
    @classmethod
    def _known_version(cls, version: int) -> int:
        if version > VERSION:
            raise mistake(f"{version} is newer than this paretune (knows {VERSION}). Upgrade: pip install -U paretune")
        return version
