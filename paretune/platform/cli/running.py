"""`paretune run` and `paretune resume`: searches, and how they tell that they ended or how to go on."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune.core.errors import BadInput, LedgerDamaged, ParetuneError, StudyLocked
from paretune.platform.cli.group import FAILED_EXIT, INTERRUPT_EXIT, examples
from paretune.platform.cli.options import (
    address_option,
    insecure_option,
    json_option,
    optional_name_argument,
    overrides_of,
    quiet_option,
    set_option,
    spec_argument,
    storage_option,
)
from paretune.platform.cli.studies import again, free_name, refuse_taken_name, study_folder

if TYPE_CHECKING:
    from paretune.platform.record.repair import RepairReport
    from paretune.platform.study.progress import Progress
    from paretune.platform.study.study import StudyResult


@click.command(
    short_help="Run a new study.",
    epilog=examples(
        "paretune run studies/digits.yaml",
        "paretune run studies/digits.yaml --name quick --set budget.trials=16",
        "paretune run studies/digits.yaml --address auto     on the Ray cluster here",
    ),
)
@spec_argument
@set_option
@click.option("--name", help="Name of the study instead of the one in the spec.")
@click.option("--rename", is_flag=True, help="Append -2, -3, ... where the name is taken.")
@address_option
@insecure_option
@quiet_option
@json_option
def run(
    spec: Path, overrides: tuple[str, ...], name: str | None, rename: bool, address: str | None, insecure: bool, quiet: bool, as_json: bool
) -> None:
    """Run a new study: search, retrain the front with fresh seeds, test it once, write the report and the networks."""
    from paretune.platform.execution.cluster import check_address
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.creation import SpecSource, start_study
    from paretune.platform.study.plan import build_plan
    from paretune.platform.study.study import run_study

    values = overrides_of(overrides)
    if name is not None:
        values["name"] = name
    loaded = read_spec(spec, values)
    if rename:
        values["name"] = free_name(Path(loaded.spec.storage), loaded.spec.name)
        loaded = read_spec(spec, values)
    refuse_taken_name(Path(loaded.spec.storage), loaded.spec.name)
    check_address(address, insecure=insecure)
    plan = build_plan(loaded)
    progress = _progress(quiet or as_json)
    progress.message(f"study {plan.spec.name}: {Path(plan.spec.storage) / plan.spec.name}")
    _show_notes(progress, (*loaded.notes, *plan.notes), values)
    source = SpecSource(text=loaded.text, overrides=values)
    _show_result(
        start_study(
            plan,
            source,
            lambda folder: _run_or_say_how_to_resume(
                folder, plan.spec.shared, lambda: run_study(folder, plan, address=address, insecure=insecure, progress=progress)
            ),
        ),
        as_json,
    )


@click.command(
    short_help="Go on with a study.",
    epilog=examples(
        "paretune resume digits",
        "paretune resume digits --set budget.trials=200      more candidates, also after the end",
        "paretune resume digits --spec studies/digits.yaml   with the edited file",
        "paretune resume digits --from /shared/runs          on a new head, from what lies on the shared storage",
    ),
)
@optional_name_argument
@storage_option
@click.option(
    "--from",
    "shared",
    type=click.Path(path_type=Path),
    help="Go on from the copy of the ledger and the results on this shared storage; --storage gets the study's folder.",
)
@click.option("--spec", type=click.Path(path_type=Path), help="The edited spec: budget, workers, final training and tracking may differ.")
@set_option
@click.option("--takeover", is_flag=True, help="Take the study from a process that still holds it (it hangs, or its host is gone).")
@click.option("--repair", is_flag=True, help="Keep the good part of a damaged ledger first; the damaged files are set aside.")
@address_option
@insecure_option
@quiet_option
@json_option
def resume(
    name: str | None,
    storage: Path,
    shared: Path | None,
    spec: Path | None,
    overrides: tuple[str, ...],
    takeover: bool,
    repair: bool,
    address: str | None,
    insecure: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Go on with a study. Finished candidates are never trained again; interrupted ones go on from their last epoch."""
    from paretune.platform.execution.cluster import check_address
    from paretune.platform.record.ledger import repair as repair_ledger
    from paretune.platform.study.api import bring_here
    from paretune.platform.study.api import resume as resume_study

    check_address(address, insecure=insecure)
    progress = _progress(quiet or as_json)
    if shared is not None:
        folder, place = bring_here(shared, name=name, into=storage, repair=repair, takeover=takeover, progress=progress)
    elif name is not None:
        folder, place = study_folder(name, storage), None
    else:
        raise BadInput("name the study: paretune resume NAME; or on a new head: paretune resume --from STORAGE")
    if repair and place is None:
        _show_repair(folder, repair_ledger(folder))
    values = overrides_of(overrides)
    result = _run_or_say_how_to_resume(
        folder,
        place,
        lambda: resume_study(
            folder,
            shared=place,
            spec=spec,
            overrides=values or None,
            address=address,
            insecure=insecure,
            takeover=takeover,
            progress=progress,
        ),
    )
    _show_result(result, as_json)


def _show_repair(folder: Path, report: "RepairReport") -> None:
    if not report.reason:
        click.echo("repair: the ledger has no damage; nothing was changed", err=True)
        return
    moved = ", ".join(path.name for path in report.moved)
    click.echo(f"repair: {report.reason}; kept {report.kept:,} events before the damage, moved aside: {moved}", err=True)
    if not report.kept:
        raise LedgerDamaged(
            f"nothing of the ledger of study '{folder.name}' could be kept, so it cannot go on. The results of its candidates lie in "
            f"{folder / 'results'}. Run the same spec under another name"
        )


def _progress(quiet: bool) -> "Progress":
    from paretune.platform.study.progress import Progress

    return Progress(quiet=quiet)


def _show_notes(progress: "Progress", notes: tuple[str, ...], overrides: dict[str, object]) -> None:
    """What the user should know; not that a field is overridden, which is what the user just asked for."""
    for note in notes:
        if not any(note.startswith(f"{path} is overridden") for path in overrides):
            progress.message(f"note: {note}")


def _run_or_say_how_to_resume(folder: Path, shared: Path | str | None, action: "Callable[[], StudyResult]") -> "StudyResult":
    from paretune.platform.execution.stop import Interrupted

    elsewhere = f"; on another machine: paretune resume {folder.name} --from {shlex.quote(str(shared))}" if shared else ""
    command = f"paretune resume {again(folder)}{elsewhere}"
    try:
        return action()
    except (Interrupted, KeyboardInterrupt) as error:
        reason = str(error) or "stopped by Ctrl-C"
        click.echo(f"paretune: {reason}. Nothing is lost. Go on with: {command}", err=True)
        sys.exit(error.exit_code if isinstance(error, Interrupted) else INTERRUPT_EXIT)
    except (StudyLocked, LedgerDamaged):
        raise  # they say what to do
    except ParetuneError as error:
        if error.exit_code not in (1, 74, 75) or not (folder / "ledger.db").exists():
            raise
        click.echo(f"paretune: {error}", err=True)
        click.echo(f"Go on with: {command}", err=True)
        sys.exit(error.exit_code)


def _show_result(result: "StudyResult", as_json: bool) -> None:
    from paretune.platform.cli.show import show_result

    show_result(result, as_json=as_json)
    if not result.front:
        sys.exit(FAILED_EXIT)  # a script must not take it for a success
