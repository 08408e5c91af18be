from importlib.metadata import EntryPoint
from typing import Literal

import pytest

from paretune.core.errors import BadInput, UnknownName
from paretune.core.registry import Option, Registry
from paretune.testing.problems import TabulatedSpace

HERE = "plugin_under_test"


class Plugin:
    """Does something. In one line.

    More about it.
    """

    def __init__(self, space, problem, *, seed: int, sample: int = 5, policy: Literal["a", "b"] = "a", rate: float) -> None:
        self.arguments = (space, problem, seed, sample, policy, rate)


def swallows_everything(space, **options):
    return space, options


@pytest.fixture
def registry(monkeypatch):
    import sys
    import types

    module = types.ModuleType(HERE)
    module.Plugin, module.swallows_everything = Plugin, swallows_everything
    monkeypatch.setitem(sys.modules, HERE, module)
    builtins = {"plugin": f"{HERE}:Plugin", "swallows": f"{HERE}:swallows_everything"}
    return Registry(kind="searcher", group="paretune.test_plugins", builtins=builtins, supplied=("seed",))


def offer(monkeypatch, **points):
    """Make entry points as an installed package would."""
    found = [EntryPoint(name=name, value=value, group="paretune.test_plugins") for name, value in points.items()]
    monkeypatch.setattr("paretune.core.registry.entry_points", lambda group: [point for point in found if point.group == group])


def test_a_plugin_is_built_from_what_is_supplied_and_its_options(registry):
    plugin = registry.create("plugin", "space", "problem", seed=3, rate=0.5, policy="b")
    assert plugin.arguments == ("space", "problem", 3, 5, "b", 0.5)


def test_options_are_the_keyword_arguments_that_are_not_supplied(registry):
    sample, policy, rate = registry.options("plugin")
    assert sample == Option(name="sample", annotation=int, default=5)
    assert policy.annotation == Literal["a", "b"]
    assert (rate.name, rate.required, sample.required) == ("rate", True, False)


def test_the_description_is_the_first_line_of_the_docstring(registry):
    assert registry.describe("plugin") == "Does something. In one line."


def test_an_unknown_plugin_lists_the_near_ones(registry):
    with pytest.raises(UnknownName, match=r"unknown searcher 'plugn'. Did you mean 'plugin'?"):
        registry.factory("plugn")


def test_an_unknown_option_lists_the_near_ones(registry):
    with pytest.raises(UnknownName, match=r"unknown option of searcher plugin 'smaple'. Did you mean 'sample'?"):
        registry.create("plugin", "space", "problem", seed=1, rate=0.1, smaple=3)


def test_a_missing_option_is_the_users_mistake(registry):
    with pytest.raises(BadInput, match="searcher 'plugin' needs the option 'rate'"):
        registry.create("plugin", "space", "problem", seed=1)


def test_factories_that_swallow_options_are_refused(registry):
    with pytest.raises(BadInput, match="takes \\*\\*kwargs"):
        registry.factory("swallows")


def test_entry_points_of_other_packages_are_found_beside_the_built_ins(registry, monkeypatch):
    offer(monkeypatch, other="paretune.testing.problems:TabulatedSpace")
    assert registry.names() == ("other", "plugin", "swallows")
    assert registry.factory("other") is TabulatedSpace


def test_a_built_in_cannot_be_replaced_from_outside(registry, monkeypatch):
    offer(monkeypatch, plugin="paretune.testing.problems:TabulatedSpace")
    assert registry.factory("plugin") is Plugin


@pytest.mark.parametrize("value", ["no_such_module_at_all:x", "paretune.core.errors:NoSuchThing"])
def test_an_entry_point_that_cannot_be_loaded_is_named(registry, monkeypatch, value):
    offer(monkeypatch, broken=value)
    with pytest.raises(BadInput, match=f"searcher 'broken' cannot be loaded from {value}"):
        registry.factory("broken")
