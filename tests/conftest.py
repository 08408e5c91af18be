"""What all tests share: the folder of the public tables, which are too large to ship."""

import os
import signal
from pathlib import Path

import pytest

DEFAULT_DATA_FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_configure() -> None:
    """What whoever started the tests ignores, as nohup and background jobs do, every process that they start would ignore."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """`PARETUNE_DATA`, or `../shared/data` beside the repository; tests that need it are skipped where it is not there."""
    folder = Path(os.environ.get("PARETUNE_DATA", DEFAULT_DATA_FOLDER))
    if not folder.is_dir():
        pytest.skip(f"needs the public tables, and {folder} is no folder; set PARETUNE_DATA")
    return folder
