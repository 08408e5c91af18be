"""The bad-input catalogue: one row, one mistake, one message that names the line, the field and the way out."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from paretune.core.errors import SpecError
from paretune.platform.spec import load_spec, load_text, template
from paretune.searchers import SEARCHERS

BASE = template()


class Asha:
    """A searcher with an option that no other has."""

    def __init__(self, space: object, problem: object, *, seed: int, reduction_factor: int = 3) -> None: ...


class Typed:
    """A searcher with an option of every type."""

    def __init__(
        self,
        space: object,
        problem: object,
        *,
        seed: int,
        rate: float = 0.5,
        flag: bool = True,
        rule: Literal["best", "worst"] = "best",
        sizes: tuple[int, ...] = (3, 5),
        warmup_s: float = 1.0,
        limit: int | None = None,
        extra: object = None,
    ) -> None: ...


@pytest.fixture(autouse=True)
def _more_searchers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, attribute in (("asha", "Asha"), ("typed", "Typed")):
        monkeypatch.setitem(SEARCHERS._builtins, name, f"{__name__}:{attribute}")
    monkeypatch.setitem(SEARCHERS._builtins, "bo", "package_that_is_not_here.bo:Search")
    assert __name__ in sys.modules


@dataclass(frozen=True)
class Case:
    row: str
    old: str  # text of the template ...
    new: str  # ... and what stands in its place
    path: str
    words: tuple[str, ...]
    marked: str | None = None  # the mistake is on the line that holds this text; by default on the line of `new`


CASES = [
    Case("5", "storage: runs", "storage: runs\n---\nname: b", "", ("second document",), marked="---"),
    Case("6", "  trials: 64", "\ttrials: 64", "", ("a tab is used for indentation",)),
    Case("7 bracket", "{name: nsga2, population: 16}", "{name: nsga2, population: [16", "", ("'[' is never closed",)),
    Case("7 brace", "task: {name: digits}", "task: {name: digits", "", ("'{' is never closed",)),
    Case("7 quote", 'uri: "sqlite:///mlflow.db"', 'uri: "sqlite:///mlflow.db', "", ("quote is never closed",)),
    Case("7 quote, ended by a later one", "name: digits   ", 'name: "digits   ', "", ("quote that opens here ends only at line",)),
    Case("10 bell", "name: digits   ", 'name: "a\\x07b" ', "name", ("control character U+0007",)),
    Case("10 surrogate", "name: digits   ", 'name: "a\\ud800b" ', "name", ("half a surrogate pair U+D800",)),
    Case("12", "task: {name: digits}", "task: &t {name: *t}", "task.name", ("alias *t contains itself",)),
    Case(
        "13",
        "training: {epochs: 5}",
        "training: &train {epochs: 5}\nfinal: *tran\nx: 1",
        "final",
        ("*tran", "Did you mean *train?"),
        "*tran",
    ),
    Case(
        "14",
        "trials: 64",
        "trials: !!python/object/apply:os.system 64",
        "budget.trials",
        ("!!python/object/apply:os.system", "not allowed"),
    ),
    Case("14 binary", "storage: runs", "storage: !!binary cnVucw==", "storage", ("tags such as !!binary",)),
    Case("15", "  time: 15m", "  trials: 50 # again", "budget.trials", ("given twice (first at line", "64, here: 50"), marked="again"),
    Case("16", "objectives:\n", "objectivs:\n", "objectivs", ("unknown field", "Did you mean 'objectives'?")),
    Case("17", "population: 16", "popluation: 16", "searcher.popluation", ("unknown field of nsga2", "'population'?", "fields:")),
    Case("17 nested", "epochs: 5}", "epoch: 10}", "training.epoch", ("Did you mean 'epochs'?",)),
    Case("18", "population: 16", "reduction_factor: 3", "searcher.reduction_factor", ("belongs to asha, not nsga2",)),
    Case("19", "storage: runs", "storage: runs\nepochs: 3", "epochs", ("belongs under training: training.epochs",), marked="epochs: 3"),
    Case("19 option", "storage: runs", "population: 3", "population", ("belongs under searcher",)),
    Case("synonym", "trials: 64", "num_samples: 64", "budget.num_samples", ("Did you mean 'trials'?",)),
    Case("synonym goal", "goal: max", "direction: max", "objectives[0].direction", ("Did you mean 'goal'?",)),
    Case("synonym top", "searcher: {", "algorithm: {", "algorithm", ("Did you mean 'searcher'?",)),
    Case("20 number", "storage: runs", "1: runs", "", ("field name is the number 1",)),
    Case("20 on", "storage: runs", "on: runs", "", ("field name on",)),
    Case("20 null", "storage: runs", "null: runs", "", ("field name is empty",)),
    Case("20 list", "storage: runs", "[a, b]: runs", "", ("field name is a list",)),
    Case("merge key", "training: {epochs: 5}", "training: {<<: {epochs: 5}, epochs: 3}", "training", ("merge keys",)),
    Case("21", "training: {epochs: 5} ", "#", "training", ("is missing. Example: training: {epochs: 5}",), marked="# A study"),
    Case("21 nested", "training: {epochs: 5}", "training: {}", "training.epochs", ("is missing. Example: epochs: 5",)),
    Case("21 in a list", "goal: max, ", "", "objectives[0].goal", ("is missing. Example: goal: max",), marked="metric: accuracy"),
    Case("22 newer", "version: 1", "version: 3", "version", ("3 is newer than this paretune (knows 1)", "pip install -U paretune")),
    Case("22 missing", "version: 1\n", "", "version", ("is missing. Example: version: 1",), marked="# A study"),
    Case("22 text", "version: 1", "version: '1'", "version", ("got text '1'", "Remove the quotes")),
    Case("23", "trials: 64", 'trials: "5"', "budget.trials", ("got text '5'; expected a whole number. Remove the quotes",)),
    Case("25", "trials: 64", "trials: 2.5", "budget.trials", ("2.5 is not a whole number",)),
    Case("26", "trials: 64", "trials: yes", "budget.trials", ("got a yes/no value (yes); expected a whole number",)),
    Case("27", "name: digits   ", "name: NO   ", "name", ("unquoted NO means 'false' in YAML; write \"NO\"",)),
    Case("28", "seed: 1 ", "seed: 010 ", "seed", ("010 is ambiguous (8 or 10?); write 10",)),
    Case("29", "time: 15m", "time: 12:30", "budget.time", ("12:30 is ambiguous; write 12h30m or 12m30s",)),
    Case("duration without unit", "time: 15m", "time: 900", "budget.time", ("900 has no unit; write 900s or 900m",)),
    Case("duration", "time: 15m", "time: 15 minuets", "budget.time", ("expected a time such as 90s",)),
    Case("30 nan", "reference: 0.9", "reference: .nan", "objectives[0].reference", ("must be a finite number (got nan)",)),
    Case("30 overflow", "reference: 0.9", "reference: 1e999", "objectives[0].reference", ("must be a finite number (got 1e999)",)),
    Case("31", "seed: 1 ", f"seed: {'7' * 5000} ", "seed", ("number with 5000 digits",)),
    Case("31 exponent", "trials: 64", "trials: 1e999999999", "budget.trials", ("digits; expected at most",)),
    Case("32", "trials: 64", "trials: 0", "budget.trials", ("must be at least 1 (got 0)",)),
    Case("32 seed", "seed: 1 ", "seed: -1 ", "seed", ("must be at least 0 (got -1)",)),
    Case("33", "trials: 64", "trials: 1000000000", "budget.trials", ("1000000000 is above the limit 10,000,000",)),
    Case("35", "name: digits   ", "name:   ", "name", ("is empty; give a text or remove the line",)),
    Case(
        "35 section",
        "training: {epochs: 5}",
        "training:",
        "training",
        ("is empty; give a mapping with epochs, hardware_aware, analog_update or remove the line",),
    ),
    Case(
        "36 mapping",
        "  - {metric: parameters, max: 60000}",
        "  metric: parameters",
        "constraints",
        ("a mapping. Put '- ' before 'metric'",),
        "constraints:",
    ),
    Case(
        "36 list",
        "training: {epochs: 5}",
        "training: [10]",
        "training",
        ("expected a mapping with epochs, hardware_aware, analog_update, got a list",),
    ),
    Case("36 scalar", "task: {name: digits}", "task: digits", "task", ("got 'digits'. Write {name: digits}",)),
    Case(
        "37", "goal: min", "goal: minimise", "objectives[1].goal", ("unknown value 'minimise'. Expected max or min.", "Did you mean 'min'?")
    ),
    Case("37 mode", "mode: sync", "mode: snyc", "run.mode", ("unknown value 'snyc'", "Did you mean 'sync'?")),
    Case("39", "name: nsga2", "name: nsgaii", "searcher.name", ("unknown searcher 'nsgaii'. Did you mean 'nsga2'?", "random")),
    Case("39 space", "digits_conv", "digit_conv", "space.name", ("unknown space 'digit_conv'. Did you mean 'digits_conv'?",)),
    Case("39 kind", "kind: host", "kind: hots", "hardware.host.kind", ("unknown hardware 'hots'. Did you mean 'host'?",)),
    Case("I15", "name: digits_conv", "name: 'os:system'", "space.name", ("unknown space 'os:system'",)),
    Case("40", "name: nsga2, population: 16", "name: bo", "searcher.name", ("needs the package 'package_that_is_not_here'", "pip install")),
    Case("42", "host.latency_ms, goal: min", "accuracy, goal: min", "objectives[1].metric", ("'accuracy' is already objectives[0] (line",)),
    Case("53 path", "host: {kind", "ho st: {kind", "hardware.ho st", ("is no name for a target",)),
    Case("54", "name: nsga2, population: 16", "name: typed, sizes: [3, five]", "searcher.sizes[1]", ("'five'", "expected a whole number")),
    Case(
        "options", "name: nsga2, population: 16", "name: nsga2, options: {a: 1}", "searcher.options", ("Write the options beside the name",)
    ),
    Case("option flag", "name: nsga2, population: 16", "name: typed, flag: on", "searcher.flag", ("got on; write true",)),
    Case("option rule", "name: nsga2, population: 16", "name: typed, rule: bets", "searcher.rule", ("Did you mean 'best'?",)),
    Case(
        "59",
        "  trials: 64                  # candidates really evaluated\n  time: 15m ",
        "  {} #",
        "budget",
        ("trials: 64", "time: 15m"),
        "budget:",
    ),
    Case(
        "61 slash",
        "name: digits   ",
        "name: a/b   ",
        "name",
        ("'a/b' may hold only letters, digits, . _ - and up to 63", "Suggestion: a-b"),
    ),
    Case("61 parent", "name: digits   ", "name: ../../x   ", "name", ("may hold only letters", "Suggestion: x")),
    Case("61 dash", "name: digits   ", "name: -rf   ", "name", ("must start with a letter or digit", "Suggestion: rf")),
    Case("61 long", "name: digits   ", f"name: {'n' * 300}   ", "name", ("has 300 characters; at most 63",)),
    Case("61 bidi", "name: digits   ", 'name: "a\\u202eb"   ', "name", ("may hold only letters",)),
    Case("65", "sqlite:///mlflow.db", "http://me:hunter2@host:5000", "tracking.uri", ("contains a password; use ${env:NAME}",)),
    Case("65 query", "sqlite:///mlflow.db", "http://host:5000?token=hunter2", "tracking.uri", ("contains a password; use ${env:NAME}",)),
    Case("65 elsewhere", "storage: runs", "storage: s3://me:hunter2@bucket", "storage", ("contains a password",)),
    Case("env elsewhere", "storage: runs", 'storage: "${env:HOME}/runs"', "storage", ("only tracking.uri",)),
    Case("sqlite slashes", "sqlite:///mlflow.db", "sqlite://mlflow.db", "tracking.uri", ("three slashes",)),
    Case("bare address", '"sqlite:///mlflow.db"', "mlflow.db", "tracking.uri", ("is no address; expected one that starts with",)),
    Case("tracking off", '{uri: "sqlite:///mlflow.db"}', "off", "tracking", ("write {uri: none}",), "tracking: off"),
    Case("workers", "workers: auto", "workers: two", "run.workers", ("expected auto or a number",)),
    Case("memory", "memory: auto", "memory: 2G", "run.memory", ("Write 2GiB",)),
    Case("memory without unit", "memory: auto", "memory: 2048", "run.memory", ("2048 has no unit",)),
    Case("unit of another kind", "reference: 0.2", "reference: 5mJ", "objectives[1].reference", ("5mJ is an energy", "is a time", "ms")),
    Case("unknown unit", "reference: 0.2", "reference: 5 msec", "objectives[1].reference", ("unknown unit 'msec'",)),
    Case("decimal comma", "reference: 0.9", 'reference: "0,8"', "objectives[0].reference", ("got text '0,8'",)),
    Case("thousands", "max: 60000", "max: 60_000", "constraints[0].max", ("Write 60000",)),
    Case("limit missing", "parameters, max: 60000", "parameters", "constraints[0]", ("needs max or min",), marked="- {metric: parameters"),
    Case(
        "limits crossed", "max: 60000", "max: 5, min: 6", "constraints[0].max", ("no value of parameters is at least min and at most max",)
    ),
    Case("missing colon", "storage: runs", "storage runs", "", ("':' and a value are missing",)),
    Case("indentation", "  time: 15m", "   time: 15m", "", ("indentation",)),
    Case("at sign", "storage: runs", "storage: @runs", "", ("text that starts with @ needs quotes",)),
]


@pytest.mark.parametrize("case", CASES, ids=[case.row for case in CASES])
def test_mistake_is_named_with_its_line_field_and_remedy(case: Case) -> None:
    assert BASE.count(case.old) >= 1
    text = BASE.replace(case.old, case.new, 1)
    with pytest.raises(SpecError) as refused:
        load_text(text, file="study.yaml")
    problems = refused.value.problems
    marked = case.marked or case.new.splitlines()[0]
    line = 1 + next(number for number, content in enumerate(text.splitlines()) if marked in content)
    matching = [problem for problem in problems if problem.path == case.path and problem.line == line]
    assert matching, str(refused.value)
    for word in case.words:
        assert word in matching[0].message, str(refused.value)
    assert len(problems) == 1 or case.row in ("13", "merge key"), str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert len(str(refused.value)) < 1000


ACCEPTED = [
    ("9 byte-order mark and CRLF", lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()),
    ("24 exact exponent", lambda text: text.replace("trials: 64", "trials: 6.4e1").encode()),
    ("38 case", lambda text: text.replace("goal: max", "goal: MAX").replace("nsga2", "NSGA2").encode()),
    ("quoted text", lambda text: text.replace("storage: runs", "storage: 'runs'").encode()),
    ("duration forms", lambda text: text.replace("15m", "0.25h").encode()),
    ("units beside the number", lambda text: text.replace("reference: 0.2", "reference: 200 us").encode()),
    ("percent", lambda text: text.replace("reference: 0.9", "reference: 90%").encode()),
    ("document markers", lambda text: f"%YAML 1.2\n---\n{text}...\n".encode()),
    ("alias", lambda text: text.replace("{epochs: 5} ", "{epochs: &n 5} ").replace("max: 60000", "max: 60000").encode()),
]


@pytest.mark.parametrize(("name", "change"), ACCEPTED, ids=[name for name, _ in ACCEPTED])
def test_other_spellings_of_the_same_spec_load_to_the_same_spec(name: str, change: object) -> None:
    assert load_text(change(BASE), file="a.yaml").spec == load_text(BASE, file="b.yaml").spec


def test_file_problems_are_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(BASE)
    os.mkfifo(tmp_path / "pipe.yaml")
    contents = {
        "empty.yaml": (b"", "is empty. Start from one: paretune init"),
        "comments.yaml": (b"# nothing\n\n", "is empty"),
        "list.yaml": (b"- a\n- b\n", "list.yaml:1:1: expected a mapping with version, name, task, space, objectives, ...; got a list"),
        "scalar.yaml": (b"just text\n", "got the text 'just text'"),
        "latin1.yaml": (b"version: 1\nname: caf\xe9\n", "latin1.yaml:2:10: not UTF-8 (byte 0xe9 at line 2). Save it as UTF-8"),
        "utf16.yaml": (BASE.encode("utf-16"), "not UTF-8 (it is UTF-16)"),
        "gzip.yaml": (b"\x1f\x8b\x08\x00", "gzip"),
        "nul.yaml": (b"version: 1\nname: a\x00b\n", "nul.yaml:2:8: control character U+0000 is not allowed"),
        "large.yaml": (b"# " + b"x" * (1 << 20), "has 1,048,578 bytes; a spec may have 1,048,576"),
    }
    for name, (content, words) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SpecError) as refused:
            load_spec(tmp_path / name)
        assert words in str(refused.value)
    for name, words in (
        ("serach.yaml", "no such file. Did you mean search.yaml?"),
        (".", "is a directory"),
        ("pipe.yaml", "no ordinary file"),
    ):
        with pytest.raises(SpecError) as refused:
            load_spec(tmp_path / name)
        assert words in str(refused.value)


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_alias_bombs_are_counted_before_they_are_written_out() -> None:
    with pytest.raises(SpecError) as refused:
        load_text(bomb(9, 9), file="study.yaml")
    # Level 0 has 9 leaves and itself; sizes 10, 91, 820, 7381, 66430, ...: level 5 is the first beyond 100,000 values.
    assert "values (limit 100,000); the aliases at line" in str(refused.value)
    assert refused.value.problems[-1].line in (5, 6)
    with pytest.raises(SpecError, match="more than"):
        load_text(bomb(60, 9), file="study.yaml")


def test_depth_and_number_of_values_are_limited() -> None:
    chain = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 200))
    for text in ("a: " + "[" * 100_000, "a:" + "\n" + "".join(f"{' ' * level}-\n" for level in range(1, 150)), "{a: " * 500, chain):
        with pytest.raises(SpecError, match="more than 64 levels"):
            load_text(text, file="study.yaml")
    with pytest.raises(SpecError, match="more than 10,000 values"):
        load_text(f"a: [{'1,' * 200_000}]", file="study.yaml")
    with pytest.raises(SpecError, match="may have 1,048,576 bytes"):
        load_text("# " * (1 << 20), file="study.yaml")


def test_ten_mistakes_give_ten_messages_in_the_order_of_the_lines() -> None:
    text = BASE
    for old, new in (
        ("version: 1", "version: 2"),
        ("name: digits   ", "name: a b   "),
        ("seed: 1 ", "seed: x "),
        ("kind: host", "kind: gpu"),
        ("goal: max", "goal: maximise"),
        ("reference: 0.2", "reference: 0.2kg"),
        ("max: 60000", "mx: 60000"),
        ("population: 16", "population: many"),
        ("trials: 64", "trials: 0"),
        ("retries: 2", "retires: 2"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(SpecError) as refused:
        load_text(text, file="study.yaml")
    lines = [problem.line for problem in refused.value.problems]
    assert len(lines) == 10
    assert lines == sorted(lines)
    assert all(row.startswith("study.yaml:") for row in str(refused.value).splitlines())
