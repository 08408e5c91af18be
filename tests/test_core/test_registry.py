import re
import sys
import types
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


BUILTINS = {"plugin": f"{HERE}:Plugin", "swallows": f"{HERE}:swallows_everything"}


@pytest.fixture
def registry(monkeypatch):
    module = types.ModuleType(HERE)
    module.Plugin, module.swallows_everything, module.Positional = Plugin, swallows_everything, Positional
    monkeypatch.setitem(sys.modules, HERE, module)
    return Registry(kind="searcher", group="paretune.test_plugins", builtins=BUILTINS, supplied=("seed",))


@pytest.fixture
def offering(registry, tmp_path, monkeypatch):
    """Makes a registry beside which an installed package offers an entry point."""

    def offer(name, value):
        group = f"paretune.test_plugins.{tmp_path.name}"
        metadata = tmp_path / "somebody_elses-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody-elses\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return Registry(kind="searcher", group=group, builtins=BUILTINS)

    return offer


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


class Positional:
    """Takes an option that nobody could name."""

    def __init__(self, board: str, *, port: int = 3) -> None:
        self.board, self.port = board, port


def test_options_that_are_taken_by_position_are_refused_where_nothing_is_given_so(registry):
    builtins = {"usb": f"{HERE}:Positional"}
    refusing = Registry(kind="hardware", group="paretune.nothing", builtins=builtins, all_named=True)
    with pytest.raises(BadInput, match=r"hardware 'usb' takes board by position; its options must stand behind a '\*'"):
        refusing.factory("usb")
    supplied = Registry(kind="hardware", group="paretune.nothing", builtins=builtins, supplied=("board",), all_named=True)
    assert [option.name for option in supplied.options("usb")] == ["port"]


def test_entry_points_of_other_packages_are_found_beside_the_built_ins(offering):
    registry = offering("other", "paretune.testing.problems:TabulatedSpace")
    assert registry.names() == ("other", "plugin", "swallows")
    assert registry.factory("other") is TabulatedSpace


def test_a_built_in_cannot_be_replaced_from_outside(offering):
    assert offering("plugin", "paretune.testing.problems:TabulatedSpace").factory("plugin") is Plugin


@pytest.mark.parametrize("value", ["no_such_module_at_all:x", "paretune.core.errors:NoSuchThing"])
def test_an_entry_point_that_cannot_be_loaded_is_named(offering, value):
    registry = offering("broken", value)
    with pytest.raises(BadInput, match=f"searcher 'broken' cannot be loaded from {value}"):
        registry.factory("broken")


SOMEBODYS_MODULE = """\
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


class Fails:
    def __init__(self, *, port: int = 3) -> None:
        self.board = {}[port]


class Unreadable:
    def __init__(self, *, price: "Decimal" = 3) -> None:
        self.price = price
"""


@pytest.mark.parametrize(
    ("text", "attribute", "told"),
    [
        (SOMEBODYS_MODULE, "Fails", r"searcher 'mine' failed when it was made: KeyError: 3 \(.*/plugin_\w+\.py:9\)"),
        (SOMEBODYS_MODULE, "Unreadable", r"searcher 'mine': name 'Decimal' is not defined, .* outside 'if TYPE_CHECKING'"),
        ("board = 1 / 0\n", "Board", r"cannot be loaded from plugin_\w+:Board: ZeroDivisionError: .* \(.*/plugin_\w+\.py:1\)"),
        ("class Board\n", "Board", r"cannot be loaded from plugin_\w+:Board: SyntaxError: .*plugin_\w+\.py, line 1"),
    ],
)
def test_what_somebodys_plugin_raises_by_itself_is_told_with_its_line(offering, tmp_path, text, attribute, told):
    module = re.sub(r"\W", "_", f"plugin_{tmp_path.name}")
    (tmp_path / f"{module}.py").write_text(text)
    registry = offering("mine", f"{module}:{attribute}")
    with pytest.raises(BadInput, match=told):
        registry.create("mine")


def test_what_a_built_in_raises_unforeseen_is_a_bug_and_stays_one(monkeypatch):
    module = types.ModuleType(HERE)
    exec(SOMEBODYS_MODULE, module.__dict__)
    monkeypatch.setitem(sys.modules, HERE, module)
    with pytest.raises(KeyError):
        Registry(kind="searcher", group="paretune.nothing", builtins={"plugin": f"{HERE}:Fails"}).create("plugin")
