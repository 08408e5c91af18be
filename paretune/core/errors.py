"""Every error paretune raises on purpose, and the exit code the command line gives it.

ParetuneError                    1   the search failed
|- BadInput                      2   the user can mend it
|  |- SpecError                      mistakes in a spec or target file, all of them at once
|  |- UnknownName                    no such space, searcher, task, hardware or study
|  |- BadOptions                     a plugin's options have mistakes, all of them at once
|  |- SpecChanged                    a study is resumed from another spec
|  |- EvaluationError                a task or device returned something that is no metric
|- SearchFailed                  1   the search cannot go on: nothing feasible, everything fails alike
|- StorageError                 74   the disk or the shared storage fails
|  |- LedgerDamaged                  a ledger record fails its checksum
|  |- CheckpointDamaged              a checkpoint fails its SHA-256
|- TemporaryError               75   try again later
|  |- StudyLocked                    another process runs the study
|  |- StudyTakenOver                 another process took the study over from this one
|  |- ClusterLost                    the Ray cluster went away
|- DeviceError                  75   a device gave no usable measurement
|  |- DevicesGone                    no device is left, whatever the network
|  |- UnstableMeasurement            the repeats disagree too much
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class ParetuneError(Exception):
    """Base of all errors that paretune raises on purpose."""

    exit_code = 1


class BadInput(ParetuneError):
    """Something the user gave cannot be used; the message says what, where and what to do."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecProblem:
    """One mistake in a spec or target file."""

    line: int
    """1-based line, 0 where the problem is the file itself."""
    column: int
    """1-based column, 0 where the problem is the file itself."""
    path: str
    """Field path such as `objectives[1].goal`; empty for the file as a whole."""
    message: str
    """What is wrong, what was expected, what to do."""

    def render(self, file: str) -> str:
        """`FILE:LINE:COL: field.path: message`, without the parts that do not apply."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SpecError(BadInput):
    """A spec file with at least one mistake; `problems` holds all of them, sorted by line."""

    def __init__(self, file: str, problems: Sequence[SpecProblem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(problem.render(file) for problem in self.problems))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.file, self.problems)  # so that it can be pickled: workers raise it too


class UnknownName(BadInput):
    """A name that nothing is registered under; the message lists the near ones."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} '{name}'.{did_you_mean(name, known)} ({', '.join(known) or 'none known'})")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.kind, self.name, self.known)  # so that it can be pickled: workers raise it too


class BadOptions(BadInput):
    """Options of a plugin with at least one mistake; `problems` holds (way to the option, message) of each."""

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{'.'.join(map(str, way))}: {message}" if way else message for way, message in self.problems))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.problems,)  # so that it can be pickled: workers raise it too


class SpecChanged(BadInput):
    """A study is resumed from a spec that differs in what may not change."""


class EvaluationError(BadInput):
    """An evaluator returned something that is not a metric: a bug in the user's task or device code."""


class SearchFailed(ParetuneError):
    """The search cannot go on: no member of the space meets the limits, or everything fails alike."""


class StorageError(ParetuneError):
    """The disk or the shared storage failed; nothing acknowledged is lost."""

    exit_code = 74


class LedgerDamaged(StorageError):
    """A ledger record fails its checksum or the file is no ledger."""


class CheckpointDamaged(StorageError):
    """A checkpoint is cut, altered or of another network."""


class TemporaryError(ParetuneError):
    """Nothing is wrong with the input; trying again later may work."""

    exit_code = 75


class StudyLocked(TemporaryError):
    """Another process runs the study."""


class StudyTakenOver(TemporaryError):
    """Another process took the study over; this one may write nothing more."""


class ClusterLost(TemporaryError):
    """The Ray cluster went away; the ledger is intact."""


class DeviceError(TemporaryError):
    """A device gave no usable measurement."""


class DevicesGone(DeviceError):
    """No device of a target is left, whatever the network: measuring pauses, and no candidate failed."""


class UnstableMeasurement(DeviceError):
    """The repeats of a measurement disagree more than the target allows."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """` Did you mean 'x'?` for the nearest known name, or nothing when none is near."""
    near = get_close_matches(name.lower(), [item.lower() for item in known], n=1, cutoff=0.6)
    if not near:
        return ""
    original = next(item for item in known if item.lower() == near[0])
    return f" Did you mean '{original}'?"
