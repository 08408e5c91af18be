"""How long `paretune --help` takes, as a user feels it: processes started one after another, median of five.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from goals import Goal, report_goals

ROUNDS = 5
COMMANDS = (("--help",), ("run", "--help"), ("--version",), ("list", "searchers"), ("status",))


def seconds(arguments: tuple[str, ...]) -> float:
    """Median time of a command; the first start, which fills the disk cache, does not count."""
    times_s = []
    for _ in range(1 + ROUNDS):
        start_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "paretune", *arguments], stdout=subprocess.DEVNULL, check=True)
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s[1:])


def main() -> int:
    times_s = {arguments: seconds(arguments) for arguments in COMMANDS}
    for arguments, time_s in times_s.items():
        print(f"{time_s:>7.3f} s  paretune {' '.join(arguments)}")
    return report_goals([Goal(name="help_s", value=times_s[("--help",)], sense="<=", bound=0.5)])


if __name__ == "__main__":
    sys.exit(main())
