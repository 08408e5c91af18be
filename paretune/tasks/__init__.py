"""What a network must do: data sets, training recipe, metrics, export."""

from paretune.core.registry import Registry

TASKS = Registry(
    kind="task",
    group="paretune.tasks",
    builtins={"digits": "paretune.tasks.digits:Digits", "table": "paretune.tasks.table:TableTask"},
)
"""Factories `(*, ...)` of `core.protocols.Task`."""
