"""`python -m paretune` and the `paretune` command."""

import sys


def main() -> None:
    """Run a command. The one that runs on measuring devices needs NumPy and ONNX Runtime only, so nothing else is imported for it."""
    if sys.argv[1:3] == ["device", "serve"]:
        from paretune.hardware.measured.remote.serve_command import main as serve

        serve(sys.argv[3:])
        return
    from paretune.platform.cli.commands import main as command

    command(prog_name="paretune")  # not "python -m paretune": messages, completion and documentation say paretune


if __name__ == "__main__":
    main()
