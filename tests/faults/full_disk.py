"""A real full disk: a small search on a tmpfs that fills up at 20 different moments, is freed, and goes on.

    python tests/faults/full_disk.py [ROUNDS]

Needs the right to mount. Prints one line of figures; the exit code is 1 if anything was lost, repeated or wrong, 77 if it cannot run.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from small_search import Store, run_search
from traced import run
from verdict import Baseline, Verdict, check_end, check_halfway

SIZE_BYTES = 512 * 1024
BLOCK_BYTES = 4096
NEEDED_BLOCKS = 36  # a whole search takes a little less: 8 of the log's index, about 5 of the ledger, 9 of the log, 12 results
OUT_OF_STORAGE = 74


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of `SIZE_BYTES` at a folder."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        print(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
        sys.exit(77)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, free_blocks: int) -> Path:
    """Use up all but some blocks of a disk."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free_blocks * BLOCK_BYTES)))
    return ballast


def one_round(disk: Path, witness: Path, free_blocks: int, baseline: Baseline) -> Verdict:
    """Search on a disk with so many free blocks, free it, go on, and judge the end."""
    study, where, verdict = disk / "study", f"{free_blocks} free blocks", Verdict(points=1)
    ballast = fill(disk, free_blocks)
    ended = run(partial(run_search, study, witness))
    verdict.hit = int(ended.code == OUT_OF_STORAGE)
    if ended.code not in (0, OUT_OF_STORAGE) or "Traceback" in ended.stderr:
        verdict.problem(f"{where}: ended with {ended.code}: {ended.stderr}")
    elif ended.code == OUT_OF_STORAGE and not (str(study) in ended.stderr and "needed" in ended.stderr and "free" in ended.stderr):
        verdict.problem(f"{where}: the message does not say where, how much is needed and how much is free: {ended.stderr}")
    ballast.unlink()
    check_halfway(Store(study, None), witness, baseline, verdict, where)
    again = run(partial(run_search, study, witness))
    if again.code != 0:
        verdict.problem(f"{where}: cannot go on after space was freed: {again.stderr}")
    else:
        check_end(Store(study, None), witness, baseline, verdict, where)
    shutil.rmtree(study)
    return verdict


def main(rounds: int) -> int:
    """The command."""
    home = Path(tempfile.mkdtemp(prefix="paretune-full-disk-"))
    baseline, verdict = Baseline.of(Store, home / "baseline"), Verdict()
    disk = home / "disk"
    disk.mkdir()
    with small_disk(disk):
        for number in range(rounds):
            verdict.add(one_round(disk, home / f"witness-{number}", number * NEEDED_BLOCKS // rounds, baseline))
    shutil.rmtree(home)
    print(f"full disk: {verdict.points} searches, {verdict.hit} ended with exit code 74, freed, continued: {verdict.figures()}")
    for text in verdict.problems[:20]:
        print(f"  {text}")
    return 1 if verdict.bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
