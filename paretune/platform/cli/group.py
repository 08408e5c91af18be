"""The frame of every command: paretune's errors as one clear message and an exit code; a traceback is a bug."""

import errno
import os
import sys
from typing import Any, NoReturn

import click

from paretune.core.errors import ParetuneError, SpecError

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    the search failed (nothing meets the limits, or most candidates fail)
  2    bad input: a spec, name or option; the message says what to mend
  74   the disk or shared storage failed; nothing acknowledged is lost
  75   temporary: the study is being run, or the Ray cluster went away; try again
  130  stopped by Ctrl-C (129 hang-up, 143 SIGTERM); 'paretune resume NAME' goes on
"""
FAILED_EXIT = 1
STORAGE_EXIT = 74
INTERRUPT_EXIT = 130
SPEC_PROBLEMS_SHOWN = 20


class ParetuneGroup(click.Group):
    """Runs a command and explains how it ended."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        _open_missing_streams()
        try:
            return super().invoke(ctx)
        except ParetuneError as error:
            fail(error)
        except KeyboardInterrupt:
            click.echo("paretune: stopped", err=True)
            sys.exit(INTERRUPT_EXIT)
        except OSError as error:
            _fail_of_system(error)


def examples(*lines: str) -> str:
    """The end of a command's help, its lines kept as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def fail(error: ParetuneError) -> NoReturn:
    """Say what is wrong and exit with the code of the error."""
    if isinstance(error, SpecError):
        for problem in error.problems[:SPEC_PROBLEMS_SHOWN]:
            click.echo(problem.render(error.file), err=True)
        if len(error.problems) > SPEC_PROBLEMS_SHOWN:
            click.echo(f"... and {len(error.problems) - SPEC_PROBLEMS_SHOWN} more", err=True)
    else:
        click.echo(f"paretune: {error}", err=True)
    sys.exit(error.exit_code)


def _fail_of_system(error: OSError) -> NoReturn:
    """The system refused a file: the user's matter, unlike other errors of this kind, which are bugs."""
    if error.errno == errno.EPIPE:  # whoever read our output left
        _drop_output()
        sys.exit(0)
    if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        raise error
    what = "cannot write" if error.filename is None else f"cannot use {error.filename}"
    click.echo(f"paretune: {what}: {error.strerror}", err=True)
    _drop_output()
    sys.exit(STORAGE_EXIT)


def _drop_output() -> None:
    """What is still buffered goes nowhere; Python would try to write it at exit and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_missing_streams() -> None:
    """Where standard streams are closed, the next file opened would get their number, and whatever a library prints would go into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
