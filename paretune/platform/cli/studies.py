"""Studies as the command line names them: by name below a storage folder, or by folder."""

import shlex
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

from paretune.core.errors import BadInput, UnknownName

STORAGE = Path("runs")


def study_folder(name: str, storage: Path) -> Path:
    """The folder of a study, given its name or its folder.

    Raises:
        UnknownName: there is none; the message lists the near ones.
        BadInput: there are no studies.
    """
    for folder in (storage / name, Path(name)):
        if (folder / "ledger.db").is_file():
            return folder
    known = [folder.name for folder in study_folders(storage)]
    if not known:
        raise BadInput(
            f"no study '{name}': {storage} holds no studies. Start one with 'paretune run SPEC', or name its folder with --storage"
        )
    raise UnknownName("study", name, known)


def study_folders(storage: Path) -> list[Path]:
    """Folders of all studies, by name.

    Raises:
        BadInput: the storage is not a folder.
    """
    if storage.exists() and not storage.is_dir():
        raise BadInput(f"--storage {storage}: is no folder")
    return sorted(path.parent for path in storage.glob("*/ledger.db")) if storage.is_dir() else []


def free_name(storage: Path, name: str) -> str:
    """The name, or the first of NAME-2, NAME-3, ... that nothing is called yet."""
    taken = {path.name for path in storage.iterdir()} if storage.is_dir() else set()
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(candidate for candidate in (name, *numbered) if candidate not in taken)


def refuse_taken_name(storage: Path, name: str) -> None:
    """Raise where a new study of this name cannot be made."""
    if storage.exists() and not storage.is_dir():
        raise BadInput(f"storage: {storage} is no folder")
    folder = storage / name
    if (folder / "ledger.db").exists():
        raise BadInput(
            f"study '{name}' exists in {folder}. Go on with it: paretune resume {again(folder)}. "
            f"Start another: --name {free_name(storage, name)}"
        )


def again(folder: Path) -> str:
    """How later commands name this study: `digits`, or `digits --storage elsewhere`."""
    return folder.name if folder.parent == STORAGE else f"{folder.name} --storage {shlex.quote(str(folder.parent))}"


def complete_study(ctx: Context, _parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of studies that begin so, for the shell."""
    storage = ctx.params.get("storage") or STORAGE
    return [CompletionItem(path.parent.name) for path in sorted(storage.glob(f"{incomplete}*/ledger.db"))]
