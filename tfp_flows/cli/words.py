"""The words of the command line: commands, options, their defaults and their help.

Nothing here imports TensorFlow, so that help and mistakes are answered at once.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from tfp_flows.data import tables

__all__ = ["DENSITY_ROWS", "PROGRAM", "SAMPLES", "STEPS", "parse", "version"]

PROGRAM = "tfp-flows"

# Chosen on two_moons, which ends within 0.05 nats of its entropy after one to two
# minutes on two cores.
STEPS = 12_000

SAMPLES = 1000  # that `fit` and `sample` draw from a flow
DENSITY_ROWS = 50_000  # that `fit` draws from a named density to train on

_READABLE, _WRITABLE = " or ".join(tables.READABLE), " or ".join(tables.WRITABLE)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the command and its options.

    Args:
      words: what was typed after the program's name.

    Raises:
      ValueError: a word is missing, unknown or out of its range.
      SystemExit: the words ask for help or the version, which is then printed.
    """
    return _parser().parse_args(words)


def version(package: str) -> str:
    """Returns the version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See `{self.prog} --help`.")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Fit flows to data, sample them, look at them.",
        epilog="TensorFlow's own log is silenced; TF_CPP_MIN_LOG_LEVEL=0 in the "
        "environment shows it.",
    )
    parser.add_argument(
        "--version", action="version", version=f"{PROGRAM} {version('tfp_flows')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, summary: str) -> _Parser:
        return commands.add_parser(name, help=summary, description=summary)

    _add_fit_options(
        command("fit", "fit a flow to a density's samples or a file's rows")
    )

    sample = command("sample", "draw points from a fitted flow")
    _add_model(sample)
    sample.add_argument(
        "-n",
        type=_count,
        default=SAMPLES,
        metavar="N",
        help="points (default: %(default)s)",
    )
    _add_seed(sample)
    _add_device(sample)
    _add_table_out(sample)

    score = command("score", "compute the log_prob of every row, in nats")
    _add_model(score)
    score.add_argument(
        "data", type=Path, metavar="DATA", help=f"{_READABLE} file, or folder of such"
    )
    _add_key(score)
    _add_device(score)
    _add_table_out(score)

    stages = command("stages", "draw the distribution after every bijector")
    _add_model(stages)
    stages.add_argument(
        "--out",
        type=Path,
        default=Path("stages.png"),
        metavar="FILE",
        help="picture (default: %(default)s)",
    )
    _add_device(stages)

    export = command("export", "write a SavedModel, which runs without tfp_flows")
    _add_model(export)
    export.add_argument("folder", type=Path, metavar="DIR", help="new folder")

    command("list", "name the densities and the flows")
    return parser


def _add_fit_options(parser: _Parser) -> None:
    parser.epilog = (
        "The last bijector of the flow standardizes the columns of a file, so that "
        "samples and log_prob are in the file's units. A random tenth of the rows "
        "(validation) chooses the epoch that is kept; another tenth (test), which "
        "nothing was fitted to, gives the metrics. Of streamed rows, each of these has "
        "65,536 at most."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"density (see `list`), {_READABLE} file, or folder of such files",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )
    parser.add_argument("--flow", default="real_nvp", metavar="NAME", help="see `list`")
    parser.add_argument(
        "--layers", type=_count, metavar="N", help="default: the flow's"
    )
    parser.add_argument(
        "--hidden",
        type=_counts,
        metavar="N,N,...",
        help="widths of the networks' hidden layers (default: the flow's)",
    )
    parser.add_argument(
        "--epochs",
        type=_count,
        metavar="N",
        help=f"default: as many as make about {STEPS:,} steps",
    )
    parser.add_argument(
        "--batch-size",
        type=_count,
        default=256,
        metavar="N",
        help="points of a step (default: %(default)s)",
    )
    parser.add_argument(
        "--learning-rate",
        type=_positive,
        default=3e-3,
        metavar="RATE",
        help="at the start; it falls to 0 as a cosine (default: %(default)s)",
    )
    _add_seed(parser)
    parser.add_argument(
        "--samples",
        type=_count,
        metavar="N",
        help=f"of a density, to train on (default: {DENSITY_ROWS})",
    )
    parser.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="of a density, such as noise=0.05; may be repeated",
    )
    _add_key(parser)
    _add_device(parser)
    parser.add_argument(
        "--stream",
        action="store_true",
        help="read the rows from their files in each epoch (default: where the files "
        "take more than a tenth of the memory)",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument(
        "--strategy",
        choices=("mirrored", "multiworker"),
        help="fit on all devices of this machine, or on those of all workers that "
        "TF_CONFIG names: run the same command on each, the first writes the files",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_model(parser: _Parser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=".keras file")


def _add_seed(parser: _Parser) -> None:
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="same number, same result (default: %(default)s)",
    )


def _add_device(parser: _Parser) -> None:
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, gpu, or gpu:1 and so on (default: a GPU where there is one)",
    )


def _add_key(parser: _Parser) -> None:
    parser.add_argument("--key", metavar="NAME", help="which array of an .npz file")


def _add_table_out(parser: _Parser) -> None:
    parser.add_argument(
        "--out",
        type=_table_path,
        metavar="FILE",
        help=f"{_WRITABLE} file (default: CSV to stdout)",
    )


def _word(
    read: Callable[[str], Any], is_right: Callable[[Any], bool], expected: str
) -> Callable[[str], Any]:
    """Returns a reader of one word, whose error says what was expected instead."""

    def reader(word: str) -> Any:
        try:
            value = read(word)
        except ValueError:
            value = None
        if value is None or not is_right(value):
            raise argparse.ArgumentTypeError(f"must be {expected}. Received: {word!r}")
        return value

    return reader


def _as_parameter(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    return name, float(value)


_count = _word(int, lambda n: n >= 1, "a whole number ≥ 1")
_counts = _word(
    lambda word: tuple(int(n) for n in word.split(",")),
    lambda ns: min(ns) >= 1,
    "whole numbers ≥ 1 with commas between",
)
_seed = _word(int, lambda n: 0 <= n < 2**32, "a whole number in 0..2³²-1")
_positive = _word(float, lambda x: 0 < x < math.inf, "a number > 0")
_parameter = _word(_as_parameter, lambda pair: bool(pair[0]), "NAME=NUMBER")
_table_path = _word(
    Path, lambda path: path.suffix.lower() in tables.WRITABLE, f"a {_WRITABLE} file"
)
