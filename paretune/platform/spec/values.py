"""Scalar types of the spec: each turns a value as written into the value inside (SI units), or says what was expected.

A value as written is a `Scalar`, which keeps text and quotes: the declared type decides what the text means, so `1e-3` is a number
where a number is due and `NO` is never silently false. Any other value is a stored one (`model_dump`) and passes as it is.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from pydantic_core import PydanticCustomError

from paretune.core.environment import VARIABLE
from paretune.core.metrics import SI_UNITS, symbol
from paretune.platform.spec.nodes import PASSWORD, Scalar, shape, shortened
from paretune.platform.spec.suggest import did_you_mean

REAL = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[-+]?(\.?inf(inity)?|\.?nan)", re.IGNORECASE)
YES_NO = re.compile(r"y|n|yes|no|on|off|true|false", re.IGNORECASE)
TRUE = re.compile(r"y|yes|on|true", re.IGNORECASE)
CLOCK = re.compile(r"\d+:\d{1,2}(:\d{1,2})?", re.ASCII)
PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zµμ]+)\s*", re.ASCII | re.IGNORECASE)
MAX_DIGITS = 18

SECONDS: Mapping[str, float] = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
DIMENSIONS: Mapping[str, str] = {"s": "a time", "j": "an energy", "w": "a power", "bytes": "a size", "mm2": "an area"}
SIZES: Mapping[str, int] = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
MAX_TEXT = 1000


def mistake(message: str) -> PydanticCustomError:
    """A mistake in a value, told in our own words."""
    return PydanticCustomError("spec", "{text}", {"text": message})


def expect_scalar(value: object, expected: str) -> Scalar | None:
    """The value as written, or None where it is a stored one.

    Raises:
        PydanticCustomError: nothing was given, or a list or mapping.
    """
    if isinstance(value, dict | list):
        raise mistake(f"got {'a mapping' if isinstance(value, dict) else 'a list'}; expected {expected}")
    if not isinstance(value, Scalar):
        return None
    if value.is_null:
        raise mistake(f"is empty; give {expected} or remove the line")
    return value


def _number_text(scalar: Scalar, expected: str) -> str:
    """The text of what should be a number, with the usual confusions refused by name."""
    text = scalar.text
    if scalar.quoted:
        hint = " Remove the quotes" if REAL.fullmatch(text) else ""
        raise mistake(f"got text '{shortened(text)}'; expected {expected}.{hint}".rstrip())
    if YES_NO.fullmatch(text):
        raise mistake(f"got a yes/no value ({text}); expected {expected}")
    if re.fullmatch(r"[-+]?0\d+", text, re.ASCII):
        octal = f"{int(text, 8)} or " if re.fullmatch(r"[-+]?[0-7]{1,20}", text) else ""
        plain = text.lstrip("+-").lstrip("0")[:MAX_DIGITS] or "0"
        raise mistake(f"{shortened(text)} is ambiguous ({octal}{plain}?); write {'-' if text[0] == '-' else ''}{plain}")
    if CLOCK.fullmatch(text):
        raise mistake(f"{text} is ambiguous (a clock time?); expected {expected}")
    if NOT_FINITE.fullmatch(text):
        raise mistake(f"must be a finite number (got {text.lstrip('.')})")
    if re.fullmatch(r"0[xo][0-9a-f]+", text, re.ASCII | re.IGNORECASE):
        raise mistake(f"{shortened(text)} is not decimal; expected {expected}")
    return text


def whole_number(value: object) -> object:
    """`5`, and `1e3` where it is exact."""
    scalar = expect_scalar(value, "a whole number")
    if scalar is None:
        return value
    text = _number_text(scalar, "a whole number")
    if not REAL.fullmatch(text):
        raise mistake(f"got '{shortened(text)}'; expected a whole number.{_number_hint(text)}".rstrip())
    num_digits = sum(letter.isdigit() for letter in re.split("[eE]", text)[0])
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise mistake(f"{shortened(text)} is not a number between -2^63 and 2^63-1") from None
    if num_digits > 40 or (number and number.adjusted() > MAX_DIGITS):
        raise mistake(f"is a number with {max(num_digits, number.adjusted() + 1)} digits; expected at most 2^63-1")
    if (number.adjusted() < -40 and number) or number != number.to_integral_value():
        raise mistake(f"{shortened(text)} is not a whole number")
    return int(number)


def real_number(value: object) -> object:
    """`0.8`, `1e-3`, `5`."""
    scalar = expect_scalar(value, "a number")
    if scalar is None:
        return value
    text = _number_text(scalar, "a number")
    percent = re.fullmatch(r"([-+]?[\d.]+)\s*%", text, re.ASCII)
    if percent and REAL.fullmatch(percent[1]):
        return _float(percent[1], text) / 100
    if not REAL.fullmatch(text):
        raise mistake(f"got '{shortened(text)}'; expected a number.{_number_hint(text)}".rstrip())
    return _float(text, text)


def _float(text: str, shown: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise mistake(f"must be a finite number (got {shortened(shown)})")
    return number


def _number_hint(text: str) -> str:
    compact = text.replace("_", "").replace(" ", "")
    if REAL.fullmatch(compact):
        return f" Write {compact}"
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text, re.ASCII):
        return f" Write {text.replace(',', '')}"
    if re.fullmatch(r"\d+,\d+", text, re.ASCII):
        return f" Write {text.replace(',', '.')}"
    if re.fullmatch(r"\d+k", text, re.ASCII | re.IGNORECASE):
        return f" Write {text[:-1]}000"
    return ""


def duration(value: object) -> object:
    """`90s`, `15m`, `1h30m` -> seconds."""
    expected = "a time such as 90s, 15m or 1h30m"
    scalar = expect_scalar(value, expected)
    if scalar is None:
        return value
    text = scalar.text.strip()
    if CLOCK.fullmatch(text):
        first, second = text.split(":")[:2]
        raise mistake(f"{text} is ambiguous; write {int(first[:6])}h{second}m or {int(first[:6])}m{second}s")
    if REAL.fullmatch(text):
        raise mistake(f"{shortened(text)} has no unit; write {shortened(text)}s or {shortened(text)}m")
    total, rest, smallest = 0.0, text, math.inf
    while rest:
        part = PART.match(rest)
        unit = SECONDS.get(part[2].lower().replace("µ", "u").replace("μ", "u")) if part else None
        if part is None or unit is None or unit >= smallest:
            shown = f"text '{shortened(text)}'" if scalar.quoted else shape(scalar)
            raise mistake(f"got {shown}; expected {expected}")
        total, rest, smallest = total + float(part[1]) * unit, rest[part.end() :], unit
    if not math.isfinite(total):
        raise mistake(f"must be a finite time (got {shortened(text)})")
    return total


def memory_size(value: object) -> object:
    """`2GiB`, `500MB` -> bytes."""
    expected = "a size such as 512MiB or 2GiB"
    scalar = expect_scalar(value, expected)
    if scalar is None:
        return value
    text = scalar.text.strip()
    if REAL.fullmatch(text):
        raise mistake(f"{shortened(text)} has no unit; expected {expected}")
    part = PART.fullmatch(text)
    if part is None or part[2].lower() not in SIZES or len(part[1]) > 30:
        short = re.fullmatch(r"([\d.]+)\s*([kmgt])i?", text, re.ASCII | re.IGNORECASE)
        hint = f". Write {short[1]}{short[2].upper() if short[2].lower() != 'k' else 'K'}iB" if short else ""
        raise mistake(f"got '{shortened(text)}'; expected {expected}{hint}")
    return round(float(part[1]) * SIZES[part[2].lower()])


def quantity(value: object, *, metric: str, unit: str, factor: float) -> object:
    """A value of a metric -> SI: a plain number in the unit that the metric's name ends in, or a number with its own unit.

    Args:
        value: as written, or stored.
        metric: the name as the user wrote it.
        unit: the unit inside, empty for pure numbers.
        factor: what one unit of the user's name is inside.
    """
    scalar = expect_scalar(value, f"a value of {metric}")
    if scalar is None:
        return value
    part = re.fullmatch(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([a-zµμ]+\d?)", scalar.text.strip(), re.ASCII | re.IGNORECASE)
    if part is None or REAL.fullmatch(scalar.text.strip()) or not REAL.fullmatch(part[1]):
        number = real_number(scalar)
        if unit and scalar.text.strip().endswith("%"):
            raise mistake(f"got {shortened(scalar.text)}; {metric} is no fraction")
        assert isinstance(number, float)
        return _in_si(number, factor)
    suffix = part[2].lower().replace("µ", "u").replace("μ", "u")
    if suffix not in SI_UNITS:
        raise mistake(f"unknown unit '{shortened(part[2])}'. Expected {_units(unit)}")
    inner, own = SI_UNITS[suffix]
    if inner != unit:
        is_what = f"a value of {metric} is {DIMENSIONS[unit]}: expected {_units(unit)}" if unit else f"{metric} has no unit"
        raise mistake(f"{shortened(scalar.text)} is {DIMENSIONS[inner]}; {is_what}")
    return _in_si(_float(part[1], scalar.text), own)


def _in_si(number: float, factor: float) -> float:
    """The product as people work it out, so that 200us and 0.2ms are one value and not two neighbouring floats."""
    return float(Decimal(repr(number)) * Decimal(repr(factor)))


def _units(unit: str) -> str:
    if not unit:
        return "a plain number"
    return "one of " + ", ".join(symbol(name) for name, (inner, _) in SI_UNITS.items() if inner == unit)


def text(value: object) -> object:
    """Text; unquoted words that YAML readers take for yes or no are refused, and so are values from the environment."""
    read = path_text(value)
    if isinstance(value, Scalar) and "${" in value.text:
        raise mistake("may not use ${...}; only tracking.uri and paths to files take values from the environment")
    return read


def path_text(value: object) -> object:
    """Text that may hold `${env:NAME}`; it is stored as it is written and resolved where the file is opened."""
    scalar = expect_scalar(value, "a text")
    if scalar is None:
        return value
    if not scalar.quoted and YES_NO.fullmatch(scalar.text) and len(scalar.text) > 1:
        meaning = "true" if TRUE.fullmatch(scalar.text) else "false"
        raise mistake(f"unquoted {scalar.text} means '{meaning}' in YAML; write \"{scalar.text}\"")
    if not scalar.text.strip():
        raise mistake("is empty; give a text or remove the line")
    if len(scalar.text) > MAX_TEXT:
        raise mistake(f"has {len(scalar.text):,} characters; at most {MAX_TEXT:,} are possible")
    if PASSWORD.search(scalar.text):
        raise mistake("contains a password; only tracking.uri may name one, as ${env:NAME}")
    if "${" in VARIABLE.sub("", scalar.text):
        raise mistake("a value from the environment is written ${env:NAME}")
    return scalar.text


def study_name(value: object) -> object:
    """A name that is safe as a folder, in a URL and in a shell."""
    if not isinstance(value, dict | list) and expect_scalar(value, "a text") is not None:
        value = text(value)
    if not isinstance(value, str):
        return text(value)
    if NAME.fullmatch(value):
        return value
    suggestion = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", value)).strip("-._")[:63]
    hint = f". Suggestion: {suggestion}" if suggestion else ""
    if re.fullmatch(r"[A-Za-z0-9._-]+", value, re.ASCII):
        rule = "must start with a letter or digit" if len(value) <= 63 else f"has {len(value)} characters; at most 63 are possible"
        raise mistake(f"'{shortened(value)}' {rule}{hint}")
    raise mistake(f"'{shortened(value)}' may hold only letters, digits, . _ - and up to 63 characters{hint}")


def yes_no(value: object) -> object:
    """`true` or `false`."""
    scalar = expect_scalar(value, "true or false")
    if scalar is None:
        return value
    if scalar.quoted:
        raise mistake(f"got text '{shortened(scalar.text)}'; expected true or false. Remove the quotes")
    if scalar.text.lower() in ("true", "false"):
        return scalar.text.lower() == "true"
    if YES_NO.fullmatch(scalar.text):
        raise mistake(f"got {scalar.text}; write {'true' if TRUE.fullmatch(scalar.text) else 'false'}")
    raise mistake(f"got '{shortened(scalar.text)}'; expected true or false")


def one_of(choices: Sequence[object], *, synonyms: Mapping[str, tuple[str, ...]]) -> Callable[[object], object]:
    """A reader of one of some values; upper and lower case are the same."""
    by_name = {str(choice).lower(): choice for choice in choices}
    listed = " or ".join(str(choice) for choice in choices) if len(choices) < 3 else ", ".join(str(choice) for choice in choices)

    def read(value: object) -> object:
        scalar = expect_scalar(value, listed)
        if scalar is None:
            return value
        if scalar.text.lower() in by_name:
            return by_name[scalar.text.lower()]
        hint = did_you_mean(scalar.text, list(by_name), synonyms=synonyms)
        raise mistake(f"unknown value '{shortened(scalar.text)}'. Expected {listed}.{hint}")

    return read


def anything(value: object) -> object:
    """A value of no declared type, by the rules of YAML 1.2's core schema: numbers, true, false, null, else text."""
    if isinstance(value, dict):
        return {name: anything(item) for name, item in value.items()}
    if isinstance(value, list):
        return [anything(item) for item in value]
    if not isinstance(value, Scalar) or value.is_null:
        return None if isinstance(value, Scalar) else value
    if value.quoted:
        return text(value)
    if value.text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return value.text.lower() == "true"
    if NOT_FINITE.fullmatch(value.text) or REAL.fullmatch(value.text):
        return whole_number(value) if re.fullmatch(r"[-+]?\d+", value.text, re.ASCII) else real_number(value)
    return text(value)
