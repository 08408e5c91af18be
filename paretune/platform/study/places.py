"""Where the parts of a study lie: its own folder, and its folder on storage that all nodes of a cluster share."""

import shlex
from pathlib import Path

from paretune.core.errors import BadInput
from paretune.platform.spec.model import StudySpec


def shared_folder(spec: StudySpec, folder: Path) -> Path | None:
    """The folder of a study on its shared storage; None where its own folder lies there as a whole.

    Args:
        spec: of the study.
        folder: of the study.

    Raises:
        BadInput: both are the same.
    """
    if spec.shared is None:
        return None
    shared = Path(spec.shared) / spec.name
    if shared.resolve() == folder.resolve():
        raise BadInput(f"shared: {spec.shared} holds the study itself. Leave it out, or keep the study elsewhere: --set storage=DIR")
    return shared


def ways_to_resume(folder: Path, shared: Path | None) -> str:
    """The command that goes on with a study here, and the one for another machine."""
    here = f"paretune resume {folder.name} --storage {shlex.quote(str(folder.parent))}"
    there = f"; on another machine: paretune resume {folder.name} --from {shlex.quote(str(shared.parent))}" if shared else ""
    return f"{here}{there}"
