"""Mutated specs: whatever the bytes, a `SpecError` with places, and the right line for mistakes in one field."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.core.errors import SpecError
from paretune.platform.spec import load_text, template
from paretune.platform.study.plan import build_plan

BASE = template()
LINES = BASE.splitlines()
NUM_MUTANTS = 300
FIELD = re.compile(r"(?P<key>[a-z_]+): *(?P<value>\"[^\"]*\"|\{[^}]*\}|[^\s,{}#]+)?")
# Text fields take other texts, and the name of a target is the user's to choose.
FREE_TEXT = ("name", "storage")
NUMBERS = ("version", "seed", "reference", "max", "population", "trials", "epochs", "seeds", "retries")

Mutation = tuple[str, str, int | None]
"""What was done, the mutant, and the line that a message must name (None: no claim)."""


def fields() -> list[tuple[int, re.Match[str]]]:
    """Every field of the template outside comments: line index and match. A section in braces counts, and so do the fields in it."""
    found = []
    for index, line in enumerate(LINES):
        body = re.sub(r"(^|\s)#.*", "", line)
        for match in FIELD.finditer(body):
            if match["key"] not in ("env", "host", "sqlite"):
                found.append((index, match))
                if (match["value"] or "").startswith("{"):
                    inner_start = match.start("value") + 1
                    found += [(index, inner) for inner in FIELD.finditer(body, inner_start, match.end("value")) if inner["key"] != "sqlite"]
    return found


def with_line(index: int, line: str) -> str:
    return "\n".join([*LINES[:index], line, *LINES[index + 1 :]]) + "\n"


def misspelt_key(rng: random.Random) -> Mutation:
    index, match = rng.choice(fields())
    key = match["key"]
    at = rng.randrange(len(key))
    typo = rng.choice([key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key[:at] + rng.choice("qzj") + key[at + 1 :]]) or "x"
    return f"key {key} -> {typo}", with_line(index, LINES[index][: match.start("key")] + typo + LINES[index][match.end("key") :]), index + 1


def replaced_value(rng: random.Random, choose: Callable[[str], list[str]], *, only: tuple[str, ...] = ()) -> Mutation:
    options = [
        (index, match) for index, match in fields() if match["value"] and (not only or match["key"] in only) and choose(match["key"])
    ]
    index, match = rng.choice(options)
    value = rng.choice(choose(match["key"]))
    line = LINES[index][: match.start("value")] + value + LINES[index][match.end("value") :]
    return f"{match['key']}: {match['value']} -> {value}", with_line(index, line), index + 1


def wrong_type(rng: random.Random) -> Mutation:
    return replaced_value(rng, lambda key: ["[1]", "{a: 1}", "-", *([] if key in FREE_TEXT else ["banana", "yes"])])


def out_of_range(rng: random.Random) -> Mutation:
    return replaced_value(rng, lambda key: [".nan", "1e999", "-1e30", '"5"', "0x10", "010"], only=NUMBERS)


def emptied(rng: random.Random) -> Mutation:
    return replaced_value(rng, lambda key: ["null", "~", "''"] if key not in ("final", "max") else [])


def near_word(rng: random.Random) -> Mutation:
    return replaced_value(rng, lambda key: ["maximise", "asynch", "nsga-3", "hst", "digitz"], only=("goal", "mode", "kind"))


def deleted_field(rng: random.Random) -> Mutation:
    """A required line goes: the section that misses it is named, the top of the file being line 1."""
    index = rng.choice([index for index, line in enumerate(LINES) if re.match(r"(version|name|task|space|training):", line)])
    return f"deleted {LINES[index]}", "\n".join([*LINES[:index], *LINES[index + 1 :]]), 1


def doubled_line(rng: random.Random) -> Mutation:
    index = rng.choice([index for index, line in enumerate(LINES) if re.match(r" *[a-z_]+:", line) and not line.startswith("  host")])
    if re.fullmatch(r"[a-z]+:\s*(#.*)?", LINES[index]):
        return doubled_line(rng)
    return f"doubled {LINES[index]}", "\n".join([*LINES[: index + 1], LINES[index], *LINES[index + 1 :]]), index + 2


def indented(rng: random.Random) -> Mutation:
    index = rng.randrange(len(LINES))
    return "indent", with_line(index, rng.choice([" ", "   ", "\t"]) + LINES[index]), None


def truncated(rng: random.Random) -> Mutation:
    return "truncated", BASE[: rng.randrange(len(BASE))], None


def random_letter(rng: random.Random) -> Mutation:
    at = rng.randrange(len(BASE))
    return "letter", BASE[:at] + rng.choice("{}[]:,#&*!|>'\"%@`\\ \t\n-?~\0\x85é\u2028\ufeff0aA") + BASE[at + rng.randrange(2) :], None


def swapped_lines(rng: random.Random) -> Mutation:
    lines = list(LINES)
    first, second = rng.sample(range(len(lines)), 2)
    lines[first], lines[second] = lines[second], lines[first]
    return "swapped", "\n".join(lines), None


MUTATIONS = [
    misspelt_key,
    wrong_type,
    out_of_range,
    emptied,
    near_word,
    deleted_field,
    doubled_line,
    indented,
    truncated,
    random_letter,
    swapped_lines,
]


def mutants() -> Iterator[Mutation]:
    rng = random.Random(20)
    for number in range(NUM_MUTANTS):
        yield MUTATIONS[number % len(MUTATIONS)](rng)


def test_mutants_raise_only_spec_errors_and_one_field_mistakes_name_their_line() -> None:
    right, claimed, silent = 0, 0, []
    for told, text, line in mutants():
        try:
            loaded = load_text(text, file="study.yaml")
            problems = ()
            if line is not None:
                build_plan(loaded)  # metrics and limits are judged by what the plugins measure
        except SpecError as error:
            problems = error.problems
            assert all(0 <= problem.line <= text.count("\n") + 2 for problem in problems)
        if line is not None:
            claimed += 1
            right += any(problem.line == line for problem in problems)
            if not any(problem.line == line for problem in problems):
                silent.append((told, line, [problem.render("study.yaml") for problem in problems]))
    print(f"{NUM_MUTANTS} mutants, only SpecError; the right line in {right} of {claimed} one-field mistakes ({right / claimed:.1%})")
    assert right / claimed >= 0.98, silent


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_bytes_in_a_spec_raise_only_spec_errors(data: st.DataObject) -> None:
    base = BASE.encode()
    start = data.draw(st.integers(0, len(base)))
    stop = data.draw(st.integers(start, min(len(base), start + 40)))
    text = base[:start] + data.draw(st.binary(max_size=12)) + base[stop:]
    told = "accepted"
    with suppress(SpecError):
        try:
            load_text(text, file="study.yaml")
        except SpecError as error:
            told = str(error)
            raise
    assert told.encode("utf-8")  # printable anywhere, not empty
