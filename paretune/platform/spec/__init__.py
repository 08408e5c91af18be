"""The study spec: YAML with positions -> a typed, frozen description of a study, or every mistake at once."""

from paretune.platform.spec.compare import Change, refuse_changes, spec_changes
from paretune.platform.spec.environment import resolve_env
from paretune.platform.spec.load import LoadedSpec, load_spec, load_text, spec_from_mapping
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.plugins import TargetSpec
from paretune.platform.spec.template import template

__all__ = [
    "Change",
    "LoadedSpec",
    "StudySpec",
    "TargetSpec",
    "load_spec",
    "load_text",
    "refuse_changes",
    "resolve_env",
    "spec_changes",
    "spec_from_mapping",
    "template",
]
