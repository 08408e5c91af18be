"""`python -m paretune` and the `paretune` command."""

from paretune.platform.cli.commands import main

if __name__ == "__main__":
    main(prog_name="paretune")  # not "python -m paretune": messages, completion and documentation say paretune
