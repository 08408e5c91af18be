import inspect
import pickle

import pytest

import paretune.core.errors as errors
from paretune.core.errors import (
    BadInput,
    BadOptions,
    DeviceError,
    LedgerDamaged,
    ParetuneError,
    SearchFailed,
    SpecError,
    SpecProblem,
    StudyLocked,
    UnknownName,
    UnstableMeasurement,
    did_you_mean,
)

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, ParetuneError)]


def example(error_class):
    if error_class is SpecError:
        return SpecError("study.yaml", [SpecProblem(line=3, column=5, path="search.seed", message="must be an integer (got 'x')")])
    if error_class is UnknownName:
        return UnknownName("searcher", "nsga", ["nsga2", "random"])
    if error_class is BadOptions:
        return BadOptions([(("metrics", "accuracy"), "names no column"), ((), "a file is missing")])
    return error_class("what happened")


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_crosses_processes_unchanged(error_class):
    # Workers raise them; an exception that cannot be unpickled reaches the driver as a traceback about pickling.
    error = example(error_class)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is error_class
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("error_class", "exit_code"),
    [
        (ParetuneError, 1),
        (SearchFailed, 1),
        (BadInput, 2),
        (UnknownName, 2),
        (LedgerDamaged, 74),
        (StudyLocked, 75),
        (UnstableMeasurement, 75),
    ],
)
def test_exit_codes_follow_the_documented_tree(error_class, exit_code):
    assert error_class.exit_code == exit_code


def test_the_tree_in_the_docstring_names_every_class():
    for error_class in CLASSES:
        assert error_class.__name__ in errors.__doc__, f"{error_class.__name__} is not in the tree at the top of core/errors.py"


def test_a_device_error_can_be_caught_as_temporary():
    assert issubclass(UnstableMeasurement, DeviceError)
    assert DeviceError.exit_code == 75


def test_a_spec_with_several_mistakes_lists_them_by_line():
    error = SpecError(
        "study.yaml",
        [
            SpecProblem(line=9, column=3, path="budget", message="is missing"),
            SpecProblem(line=2, column=7, path="", message="tab in the indentation"),
            SpecProblem(line=2, column=1, path="name", message="is empty"),
            SpecProblem(line=0, column=0, path="", message="is not UTF-8"),
        ],
    )
    assert str(error).splitlines() == [
        "study.yaml: is not UTF-8",
        "study.yaml:2:1: name: is empty",
        "study.yaml:2:7: tab in the indentation",
        "study.yaml:9:3: budget: is missing",
    ]


def test_an_unknown_name_shows_the_nearest_and_all():
    assert str(UnknownName("searcher", "NSGA-2", ["random", "nsga2"])) == "unknown searcher 'NSGA-2'. Did you mean 'nsga2'? (random, nsga2)"
    assert str(UnknownName("study", "x", [])) == "unknown study 'x'. (none known)"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("acuracy", ["accuracy", "latency_s"], " Did you mean 'accuracy'?"),
        ("ACCURACY", ["Accuracy"], " Did you mean 'Accuracy'?"),
        ("zzz", ["accuracy"], ""),
        ("x", [], ""),
    ],
)
def test_near_names_are_suggested_in_their_own_spelling(name, known, hint):
    assert did_you_mean(name, known) == hint
