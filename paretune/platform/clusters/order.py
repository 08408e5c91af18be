"""What is sent to a cluster to run a study there: the command, the folder with the spec, and perhaps the code."""

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paretune
from paretune.core.errors import BadInput
from paretune.platform.execution.nodes import SUBMITTED_FROM, versions_here
from paretune.platform.spec.load import LoadedSpec

STOP_GRACE_S = 30
"""Time for running candidates' checkpoints before Ray kills the driver; Ray's own 3 s are short for that. The ledger needs none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to submit."""

    loaded: LoadedSpec
    """With an absolute storage."""
    spec_file: Path
    overrides: Mapping[str, object]
    resume: bool = False
    """Go on with the study that lies in the storage."""
    working_dir: Path | None = None
    """Folder to send along, which holds the spec; None sends the spec and the target files that it names."""
    ship_code: bool = False
    """Send this machine's paretune instead of using what is installed on the nodes."""
    insecure: bool = False
    """Run also on a cluster that asks nobody for a token."""

    def __post_init__(self) -> None:
        storage = self.loaded.spec.storage
        if not storage.startswith("/"):
            raise BadInput(
                f"storage: '{storage}' is relative, and a job's folder is gone when it ends. Name the folder that all nodes of the cluster "
                "share: --set storage=/shared/runs"
            )
        if self.working_dir is not None and not self.spec_file.resolve().is_relative_to(self.working_dir.resolve()):
            raise BadInput(f"--working-dir {self.working_dir}: {self.spec_file} does not lie in it")

    @property
    def shipped_spec(self) -> str:
        """The spec's path in the job's folder."""
        if self.working_dir is None:
            return self.spec_file.name
        return str(self.spec_file.resolve().relative_to(self.working_dir.resolve()))

    def entrypoint(self) -> str:
        """The shell command of the driver."""
        spec = self.loaded.spec
        words = ["python", "-m", "paretune"]
        if self.resume:
            words += ["resume", spec.name, "--storage", spec.storage, "--spec", self.shipped_spec]
            words += ["--from", spec.shared] if spec.shared else []
        else:
            words += ["run", self.shipped_spec]
        for path, value in self.overrides.items():
            words += ["--set", f"{path}={value}"]
        return shlex.join([*words, "--address", "auto", *(["--insecure"] if self.insecure else [])])


def runtime_env(folder: Path, *, ship_code: bool) -> dict[str, Any]:
    """What Ray gives the driver and its workers: the folder, variables, and this machine's paretune where it is to be sent."""
    environment = {
        SUBMITTED_FROM: json.dumps(versions_here()),
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_S),
        "PYTHONUNBUFFERED": "1",
    }
    shipped = {"py_modules": [str(Path(paretune.__file__).parent)]} if ship_code else {}
    return {"working_dir": str(folder), "env_vars": environment, **shipped}


@contextmanager
def folder_to_ship(order: Order) -> Iterator[Path]:
    """The folder that becomes the job's working folder."""
    if order.working_dir is not None:
        yield order.working_dir
        return
    with tempfile.TemporaryDirectory(prefix="paretune-submit-") as name:
        folder = Path(name)
        (folder / order.shipped_spec).write_text(order.loaded.text)
        for target in order.loaded.spec.hardware.values():
            source = order.spec_file.parent / (target.target or "")
            if target.target and not Path(target.target).is_absolute() and source.is_file():
                copy = folder / target.target
                if not copy.resolve().is_relative_to(folder.resolve()):
                    raise BadInput(
                        f"hardware: {target.target} lies outside the folder of the spec; send the folder of both: --working-dir DIR"
                    )
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
        yield folder
