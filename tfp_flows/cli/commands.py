"""The command line: fit a flow to data, sample it, score with it, look at it.

This module itself imports TensorFlow and Matplotlib where they are first needed. The
package imports TensorFlow all the same, since Keras must know its classes.
"""

import argparse
import contextlib
import inspect
import json
import math
import os
import shlex
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tfp_flows._core import files
from tfp_flows.cli import fit
from tfp_flows.data import tables

if TYPE_CHECKING:
    from tfp_flows import Flow

__all__ = ["main"]

_PROGRAM = "tfp-flows"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: its words; those of the process when None.

    Returns:
      The exit code: 0; 2 after one line on stderr that says what is wrong with the
      words or the files; 130 when interrupted.
    """
    try:
        words = sys.argv[1:] if argv is None else argv
        options = _parser().parse_args(words)
        options.words = shlex.join([_PROGRAM, *words])
        with _on_device(getattr(options, "device", None)):
            options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except (ArithmeticError, ImportError, TypeError, ValueError) as error:
        return _fail(str(error))
    return 0


def _on_device(name: str | None) -> contextlib.AbstractContextManager:
    if name is None:  # the first GPU that TensorFlow sees, else the CPU
        return contextlib.nullcontext()
    from tfp_flows._core import devices

    return devices.use(name)


def _fail(message: str, code: int = 2) -> int:
    print(f"{_PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code


# Words


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See `{self.prog} --help`.")


def _parser() -> _Parser:
    parser = _Parser(
        prog=_PROGRAM, description="Fit flows to data, sample them, look at them."
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"{_PROGRAM} {fit.version('tfp_flows')}",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], summary: str
    ) -> _Parser:
        words = commands.add_parser(name, help=summary, description=summary)
        words.set_defaults(command=run)
        return words

    _add_fit_words(
        command("fit", fit.fit, "fit a flow to a density's samples or a file's rows")
    )

    sample = command("sample", _sample, "draw points from a fitted flow")
    _add_model(sample)
    sample.add_argument(
        "-n",
        type=_count,
        default=fit.SAMPLES,
        metavar="N",
        help="points (default: %(default)s)",
    )
    _add_seed(sample)
    _add_device(sample)
    _add_table_out(sample)

    score = command("score", _score, "compute the log_prob of every row, in nats")
    _add_model(score)
    score.add_argument(
        "data", type=Path, metavar="DATA", help=f"{_READABLE} file, or folder of such"
    )
    _add_key(score)
    _add_device(score)
    _add_table_out(score)

    stages = command("stages", _stages, "draw the distribution after every bijector")
    _add_model(stages)
    stages.add_argument(
        "--out",
        type=Path,
        default=Path("stages.png"),
        metavar="FILE",
        help="picture (default: %(default)s)",
    )
    _add_device(stages)

    export = command("export", _export, "write a SavedModel, which runs without us")
    _add_model(export)
    export.add_argument("folder", type=Path, metavar="DIR", help="new folder")

    command("list", _list, "name the densities and the flows")
    return parser


def _add_fit_words(fit: _Parser) -> None:
    fit.epilog = (
        "A file's columns are standardized by the last bijector of the flow, so "
        "that samples and log_prob are in the file's units. A random tenth of its rows "
        "chooses the epoch that is kept; another tenth, unseen until then, gives the "
        "metrics. Of rows that are streamed, these are 65,536 each at most."
    )
    fit.add_argument(
        "source",
        metavar="SOURCE",
        help=f"density (see `list`), {_READABLE} file, or folder of such files",
    )
    fit.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )
    fit.add_argument("--flow", default="real_nvp", metavar="NAME", help="see `list`")
    fit.add_argument("--layers", type=_count, metavar="N", help="default: the flow's")
    fit.add_argument(
        "--hidden",
        type=_counts,
        metavar="N,N,...",
        help="widths of the networks' hidden layers (default: the flow's)",
    )
    fit.add_argument(
        "--epochs",
        type=_count,
        metavar="N",
        help=f"default: what makes about {fit.STEPS:,} steps",
    )
    fit.add_argument(
        "--batch-size",
        type=_count,
        default=256,
        metavar="N",
        help="points of a step (default: %(default)s)",
    )
    fit.add_argument(
        "--learning-rate",
        type=_positive,
        default=3e-3,
        metavar="RATE",
        help="at the start; falls to 0 as a cosine (default: %(default)s)",
    )
    _add_seed(fit)
    fit.add_argument(
        "--samples",
        type=_count,
        metavar="N",
        help=f"of a density, to train on (default: {fit.TRAIN})",
    )
    fit.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="of a density, such as noise=0.05; may be repeated",
    )
    _add_key(fit)
    _add_device(fit)
    fit.add_argument(
        "--stream",
        action="store_true",
        help="read the rows from their files in each epoch (default: where the files "
        "take more than a tenth of the memory)",
    )
    fit.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    fit.add_argument(
        "--strategy",
        choices=("mirrored", "multiworker"),
        help="fit on all devices of this machine, or on those of all workers that "
        "TF_CONFIG names: the same command on each, the first leaves the files",
    )
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_model(words: _Parser) -> None:
    words.add_argument("model", type=Path, metavar="MODEL", help=".keras file")


def _add_seed(words: _Parser) -> None:
    words.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="same number, same result (default: %(default)s)",
    )


def _add_device(words: _Parser) -> None:
    words.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, gpu, or gpu:1 and so on (default: a GPU where there is one)",
    )


def _add_key(words: _Parser) -> None:
    words.add_argument("--key", metavar="NAME", help="which array of an .npz file")


def _add_table_out(words: _Parser) -> None:
    words.add_argument(
        "--out",
        type=_table_path,
        metavar="FILE",
        help=f"{_WRITABLE} file (default: CSV to stdout)",
    )


def _word(
    read: Callable[[str], Any], is_right: Callable[[Any], bool], expected: str
) -> Callable[[str], Any]:
    """Returns a reader of one word, which says what it expected instead."""

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


_READABLE, _WRITABLE = " or ".join(tables.READABLE), " or ".join(tables.WRITABLE)

_count = _word(int, lambda n: n >= 1, "a whole number ≥ 1")
_counts = _word(
    lambda word: tuple(int(n) for n in word.split(",")),
    lambda ns: min(ns) >= 1,
    "whole numbers ≥ 1 with commas between",
)
_seed = _word(int, lambda n: 0 <= n < 2**32, "a whole number in 0..2³²-1")
_positive = _word(float, lambda x: 0 < x < math.inf, "a number > 0")
_parameter = _word(_as_parameter, lambda pair: pair[0], "NAME=NUMBER")
_table_path = _word(
    Path, lambda path: path.suffix.lower() in tables.WRITABLE, f"a {_WRITABLE} file"
)


# Commands


def _sample(options: argparse.Namespace) -> None:
    flow = _load(options.model)
    points = flow.sample(options.n, seed=options.seed).numpy()
    _put(options.out, points, tables.names(flow.event_size))


def _score(options: argparse.Namespace) -> None:
    if options.key is None and tables.is_large(options.data):
        log_prob = _load(options.model).predict(options.data, verbose=0)
    else:
        points = tables.read(options.data, key=options.key).points
        log_prob = _load(options.model).log_prob(points).numpy()
    _put(options.out, log_prob, ["log_prob"])
    told = f"log_prob of {len(log_prob):,} rows: {log_prob.mean(dtype=np.float64):.4f}"
    if len(log_prob) > 1:
        told += f" ± {fit.standard_error(log_prob):.4f}"
    print(f"{told} nats", file=sys.stderr)


def _put(path: Path | None, values: np.ndarray, columns: Sequence[str]) -> None:
    if path is None:
        tables.write_csv(sys.stdout, values, columns)
    else:
        tables.write(path, values, columns)


def _stages(options: argparse.Namespace) -> None:
    flow = _load(options.model)
    from tfp_flows import plotting

    with files.beside(options.out) as temporary:
        plotting.plot_stages(flow).savefig(temporary)


def _export(options: argparse.Namespace) -> None:
    _load(options.model).export(options.folder)


def _list(options: argparse.Namespace) -> None:
    from tfp_flows import densities, recipes

    for title, module, known in (
        ("Densities", densities, densities.names()),
        ("Flows", recipes, recipes.__all__),
    ):
        print(f"{title}:")
        for name in known:
            summary = (inspect.getdoc(getattr(module, name)) or "").partition("\n")[0]
            print(f"  {name:{max(map(len, known))}}  {summary}")


# Fitted flows


def _load(path: Path) -> "Flow":
    import keras

    try:
        _check_is_flow(path)
        return keras.models.load_model(path, compile=False)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} is not a whole flow file: it is cut short or damaged, or never "
            f"was one ({error})."
        ) from error
    except Exception as error:  # a damaged file fails in any way it likes
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded as a flow: {reason}") from error


def _check_is_flow(path: Path) -> None:
    """Refuses what is not a saved Flow before anything in it is run."""
    with zipfile.ZipFile(path) as members:
        config = json.loads(members.read("config.json"))
    name = config.get("registered_name") or config.get("class_name")
    if name != "tfp_flows>Flow":
        raise ValueError(f"It holds a {name}, not a tfp_flows Flow.")
