"""What a network must do: data sets, training recipe, metrics, export."""

from paretune.core.registry import Registry

TASKS = Registry(
    kind="task",
    all_named=True,
    group="paretune.tasks",
    builtins={
        "cifar10": "paretune.tasks.cifar10:Cifar10",
        "digits": "paretune.tasks.digits:Digits",
        "mnist": "paretune.tasks.mnist:Mnist",
        "speech_commands": "paretune.tasks.speech_commands:SpeechCommands",
        "spoken_digits": "paretune.tasks.spoken_digits:SpokenDigits",
        "table": "paretune.tasks.table:TableTask",
    },
)
"""Factories `(*, ...)` of `core.protocols.Task`."""
