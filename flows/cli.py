"""The command line ``rmfn``: paths, devices and the choices a person makes each time.

Everything else is a setting of the recipe. Exit status: 0 all went well; 1 a clip was read but
could not be processed; 2 what was given cannot be used (arguments, files, recipes, models).
"""

from __future__ import annotations

import argparse
import atexit
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

from extractors.threads import leave_cores_to_stages
from flows.arguments import refuse_replacing

EPILOG = """\
examples:
  rmfn predict talk.mp4                            a prediction for one video
  rmfn predict talk.mp4 --transcript talk.srt      when you know what is said
  rmfn predict talk.mp4 --report talk.html         and a page to look at
  rmfn align talk.wav --transcript talk.txt        word times only
  rmfn track visual talk.mp4 --out face.parquet    frame-rate measurements
  rmfn batch videos/ --store features --predict    a folder; stops and resumes as you like
  rmfn report runs/a                               a page of a training, or of a comparison
  rmfn serve                                       then, in another terminal:
  prefect deployment run predict-video --param path=talk.mp4

exit status: 0 all went well; 1 a clip could not be processed; 2 the input cannot be used.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    options = _build_parser().parse_args(arguments)
    if arguments is not None:
        return _run(options)
    code = _watch(options.clip) if hasattr(options, "clip") else None
    if code is None:
        _leave(_run(options))
    return code


def _run(options: argparse.Namespace) -> int:
    from pipeline.memory import share_one_heap

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no text
    share_one_heap()
    leave_cores_to_stages()
    try:
        with nullcontext() if options.debug else _only_our_words():
            refuse_replacing(options)
            code = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted; finished stages are in the store, if one was named")
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if options.debug:
            raise
        return _explain(error)


def _leave(code: int) -> NoReturn:
    """End without taking the libraries apart: their half a million objects take half a second, and
    a thread of Arrow's that still lets a file go while Python ends would end it in a crash."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(clip: str) -> int | None:
    """Of one clip too it is said if a native library crashed on it. None: go on."""
    from pipeline.isolation import outlive_crash

    code = outlive_crash()
    if code is None or code >= 0:
        return code
    if -code in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        _say(f"ended by {signal.Signals(-code).name}")
        return 128 - code
    _say(
        f"error: {clip}: it made the program crash (signal {-code}), most likely a native library "
        "that it is decoded or measured with; or the memory was used up, or somebody ended it"
    )
    return 1


def _explain(error: Exception) -> int:
    """One readable line for the errors a user can meet; anything else is a fault of ours."""
    from extractors.weights import WeightsMissing
    from pipeline.errors import ClipError, MediaError

    if isinstance(error, (ClipError, WeightsMissing, ValueError, OSError)):
        _say(f"error: {error}")
        return 1 if isinstance(error, ClipError) and not isinstance(error, MediaError) else 2
    _say(
        f"internal error: {type(error).__name__}: {error} (run again with --debug for a traceback)"
    )
    return 2


def _serve(options: argparse.Namespace) -> int:
    from flows.deployments import serve_flows

    return serve_flows(options.limit, options.root) or 0


class _ShowVersion(argparse.Action):
    """Asks for it only when somebody wants to know: that alone takes as long as all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"rmfn {version('rmfn')}")
        parser.exit()


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rmfn",
        description="From a video of a person talking to word-aligned language, facial and "
        "acoustic features, and an RMFN prediction.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.set_defaults(run=run)
        made.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
        return made

    from flows import (
        batch_command,
        clip_commands,
        datasets,
        experiments,
        learning,
        quality,
        recipes,
        report,
        vectors,
    )

    clip_commands.add_commands(command)
    batch_command.add_commands(command)
    quality.add_commands(command)
    datasets.add_commands(command)
    learning.add_commands(command)
    experiments.add_commands(command)
    report.add_commands(command)
    recipes.add_commands(command)
    vectors.add_commands(command)

    serve = command("serve", _serve, "serve the Prefect deployments on this machine")
    serve.add_argument(
        "--limit", type=int, default=1, metavar="N", help="flow runs at a time (default: 1)"
    )
    serve.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="runs may read and write below this folder, or place such as s3://bucket/features, "
        "and nowhere else, wherever links lead; may be given several times (default: the current "
        "folder)",
    )
    return parser


@contextmanager
def _only_our_words() -> Iterator[None]:
    """Keep native libraries' chatter off the screen.

    They write to descriptor 2 themselves, past Python; so the terminal is kept under another
    descriptor for Python's stderr, and 2 leads nowhere. ``--debug`` shows everything.
    """
    sys.stderr.flush()
    python, terminal = sys.stderr, os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    # Names of files may hold bytes that are no text.
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace", closefd=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        sys.stderr = python
        os.close(terminal)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
