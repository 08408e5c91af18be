"""The same through Python: run and resume a study in one call."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from paretune.core.errors import SpecError, SpecProblem
from paretune.hardware.target_files import Target, load_target, target_names
from paretune.platform.record.header import Header
from paretune.platform.record.jobs import Evaluator
from paretune.platform.record.ledger_copy import has_copy
from paretune.platform.record.shared import find_shared, restore
from paretune.platform.spec.compare import refuse_changes, spec_changes
from paretune.platform.spec.load import LoadedSpec, UnsoundSpec, load_spec, load_text, spec_from_mapping
from paretune.platform.spec.sound import beside
from paretune.platform.study.creation import SpecSource, start_study
from paretune.platform.study.plan import build_plan
from paretune.platform.study.progress import Progress
from paretune.platform.study.starts import start_reader
from paretune.platform.study.study import StudyResult, read_history, run_study


def run(
    spec: str | Path | Mapping[str, object],
    *,
    overrides: Mapping[str, object] | None = None,
    address: str | None = None,
    insecure: bool = False,
    evaluator: Evaluator | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Run a new study and wait for its end.

    Args:
        spec: a spec file, or its fields as a mapping.
        overrides: field path -> value, for example `{"budget.trials": 8}`.
        address: Ray cluster to connect to, `auto` for the one on this machine; None starts a local one.
        insecure: connect also to a cluster that other machines reach and that asks nobody for a token.
        evaluator: evaluates candidates instead of the task and hardware of the spec; then there is no final training.
        progress: where to show it; None shows nothing.

    Raises:
        SpecError: the spec has mistakes; all of them are listed.
        BadInput: a study of this name is there already.
        ParetuneError: see `platform.study.run_study`.
    """
    loaded = read_spec(spec, overrides)
    plan = build_plan(loaded)
    source = SpecSource(text=loaded.text, overrides=dict(overrides or {}))
    return start_study(
        plan,
        source,
        lambda folder: run_study(folder, plan, address=address, insecure=insecure, evaluator=evaluator, progress=progress),
    )


def read_spec(spec: str | Path | Mapping[str, object], overrides: Mapping[str, object] | None = None) -> LoadedSpec:
    """A spec from a file or a mapping, with some fields replaced.

    Raises:
        SpecError: with every mistake, also those that show when what is sound of the spec is built.
    """
    try:
        if not isinstance(spec, Mapping):
            return load_spec(spec, overrides=overrides, read_start=start_reader(Path(spec).parent))
        read_start = start_reader(Path())
        loaded = spec_from_mapping(spec, read_start=read_start)
        return load_text(loaded.text, file=loaded.file, overrides=overrides, read_start=read_start) if overrides else loaded
    except UnsoundSpec as error:
        raise SpecError(error.file, [*error.problems, *_mistakes_beside(error)]) from error


def _mistakes_beside(error: UnsoundSpec) -> list[SpecProblem]:
    """What is wrong with the plan of what is sound of a spec."""
    if error.sound is None:
        return []
    try:
        build_plan(error.sound)
    except SpecError as found:
        return beside(error.problems, found.problems, error.sound.spec)
    except Exception:  # nobody wrote this spec: whatever it fails on must not hide what is known to be wrong
        return []
    return []


def recorded_spec(header: Header, overrides: Mapping[str, object] | None = None, *, fresh: bool = False) -> LoadedSpec:
    """The spec of a study as its ledger has it, with some fields replaced.

    Args:
        header: of the study.
        overrides: field path -> value.
        fresh: read the files of hardware targets again, where they are still there, instead of taking what the ledger has of them.
    """
    return load_text(
        header.spec_text,
        file=f"spec of study '{header.name}'",
        overrides={**header.overrides, **(overrides or {})},
        read_target=lambda name, written: _recorded_target(header, name, written, fresh=fresh),
        read_start=start_reader(Path(), header),
    )


def _recorded_target(header: Header, name: str, written: str, *, fresh: bool) -> Target:
    """A hardware target as the ledger has it, its options included; one that it does not have is read."""
    known = header.spec.get("hardware", {}).get(name, {})
    if known.get("target") != written:
        return load_target(written)
    origin = known["origin"]
    file = origin.get("file", "")
    if fresh and (Path(file).is_file() if file else written in target_names()):
        return replace(load_target(file or written), name=written)
    return Target(
        name=written,
        kind=known["kind"],
        description=origin.get("description", ""),
        options=known["options"],
        sources=origin.get("sources", {}),
        file=file,
    )


def resume(
    folder: str | Path,
    *,
    shared: str | Path | None = None,
    spec: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    address: str | None = None,
    insecure: bool = False,
    takeover: bool = False,
    evaluator: Evaluator | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Go on with a study where its ledger stops: interrupted candidates first, from their checkpoints.

    Args:
        folder: of the study, `<storage>/<name>`.
        shared: where the shared storage of the study is now; None leaves it where it was.
        spec: the edited spec file; None goes on with the one in the ledger.
        overrides: field path -> value on top, for example `{"budget.trials": 400}` for more candidates.
        address: as in `run`.
        insecure: as in `run`.
        takeover: take the study from a process that still holds it.
        evaluator: as in `run`.
        progress: as in `run`.

    Raises:
        SpecChanged: what is searched or how it is evaluated changed.
        ParetuneError: see `platform.study.run_study`.
    """
    folder = Path(folder)
    header = read_history(folder).header
    placed = {} if shared is None else {"shared": str(Path(shared).absolute())}
    overrides = {**(overrides or {}), **placed}
    old = recorded_spec(header, placed)
    if spec is None:
        loaded, source = (
            recorded_spec(header, overrides, fresh=True),
            SpecSource(text=header.spec_text, overrides={**header.overrides, **overrides}),
        )
    else:
        kept = {"name": header.name, "seed": old.spec.seed, "storage": old.spec.storage, **overrides}
        loaded = load_spec(spec, overrides=kept, read_start=start_reader(Path(spec).parent))
        source = SpecSource(text=Path(spec).read_text(), overrides=kept)
    changes = spec_changes(old.spec, loaded.spec)
    if any(not change.allowed for change in changes):
        raise refuse_changes(header.name, changes, loaded)
    return run_study(
        folder,
        build_plan(loaded),
        address=address,
        insecure=insecure,
        takeover=takeover,
        progress=progress,
        evaluator=evaluator,
        source=source if changes or old.spec.shared != header.spec.get("shared") else None,
    )


def resume_from(
    storage: str | Path,
    *,
    name: str | None = None,
    into: str | Path = "runs",
    repair: bool = False,
    spec: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    address: str | None = None,
    insecure: bool = False,
    takeover: bool = False,
    evaluator: Evaluator | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Go on with a study on a machine that may never have seen it, from the copy of its ledger and the results on shared storage.

    Args:
        storage: the shared storage, or the study's folder there. Where it holds the ledger itself, the study goes on in place.
        name: of the study; None is the only one there.
        into: folder that holds one folder for each study here. A ledger that is there and is not older than the copy stays.
        repair: keep what is sound of a damaged copy.
        spec: as in `resume`.
        overrides: as in `resume`.
        address: as in `run`.
        insecure: as in `run`.
        takeover: take the study from a process that still holds it, here or on another machine.
        evaluator: as in `run`.
        progress: as in `run`.

    Raises:
        BadInput: there is no such study, or it went on in two places.
        ParetuneError: see `resume`.
    """
    folder, shared = bring_here(storage, name=name, into=into, repair=repair, takeover=takeover, progress=progress)
    return resume(
        folder,
        shared=shared,
        spec=spec,
        overrides=overrides,
        address=address,
        insecure=insecure,
        takeover=takeover,
        evaluator=evaluator,
        progress=progress,
    )


def bring_here(
    storage: str | Path,
    *,
    name: str | None,
    into: str | Path,
    repair: bool = False,
    takeover: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, Path | None]:
    """Make the folder of a study from what lies on shared storage: the folder, and the storage where it has one of its own.

    Raises:
        BadInput: as `resume_from`.
        LedgerDamaged: the copy is damaged and is not to be repaired.
        StudyLocked: a process runs the study.
    """
    found = find_shared(Path(storage), name)
    if not has_copy(found):
        return found, None
    folder = Path(into) / found.name
    made = restore(found, folder, takeover=takeover, repair=repair)
    if progress is not None and made.events:
        kept = f"{made.events:,} events from the copy in {found}"
        dropped = f", up to where it is damaged: {made.dropped}" if made.dropped else ""
        older = f"; the older ledger is now {made.moved[0].name}" if made.moved else ""
        progress.message(f"study {found.name}: {kept}{dropped}{older}")
    elif progress is not None and made.dropped:
        progress.message(
            f"study {found.name}: the ledger here goes further than the copy, which was damaged ({made.dropped}) and is made anew"
        )
    return folder, found.parent
