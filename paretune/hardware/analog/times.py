"""Times after programming, and how metrics are called by them."""

TIMES_S = (1.0, 3_600.0, 86_400.0, 2_592_000.0)
"""A second, an hour, a day, a month of 30 days."""

UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))


def time_name(time_s: float) -> str:
    """`1s`, `1h`, `1d`, `30d`: the largest unit that gives a whole number; fractions of a second as `0p5s`, since names hold no dots."""
    for unit, seconds in UNITS:
        if time_s >= seconds and time_s % seconds == 0:
            return f"{time_s / seconds:.0f}{unit}"
    return f"{time_s:.12g}s".replace(".", "p").replace("+", "")
