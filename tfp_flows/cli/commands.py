"""The commands of the command line, and how they end.

The words are parsed first. TensorFlow and matplotlib are imported by the commands that
need them.
"""

import argparse
import contextlib
import json
import os
import shlex
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tfp_flows
from tfp_flows._core import files
from tfp_flows._core.statistics import standard_error
from tfp_flows.cli import quiet, words
from tfp_flows.data import tables

if TYPE_CHECKING:
    from tfp_flows import Flow

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: its words; those of the process when None.

    Returns:
      The exit code: 0; 2 after one line on stderr that says what is wrong with the
      words or the files; 130 when interrupted.
    """
    try:
        typed = sys.argv[1:] if argv is None else argv
        options = words.parse(typed)
        options.typed = shlex.join([words.PROGRAM, *typed])
        if options.command == "list":
            _list()
        else:
            with quiet.silence_tensorflow():
                tfp_flows._register_classes()
            with _on_device(getattr(options, "device", None)):
                _COMMANDS[options.command](options)
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


def _list() -> None:
    from tfp_flows.cli import listing

    for title, summaries in (
        ("Densities", listing.densities_by_name()),
        ("Flows", listing.flows_by_name()),
    ):
        print(f"{title}:")
        width = max(map(len, summaries))
        for name, summary in summaries.items():
            print(f"  {name:{width}}  {summary}")


def _on_device(name: str | None) -> contextlib.AbstractContextManager[None]:
    if name is None:  # TensorFlow takes its first GPU, else the CPU
        return contextlib.nullcontext()
    from tfp_flows._core import devices

    return devices.use(name)


def _fail(message: str, code: int = 2) -> int:
    print(f"{words.PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code


# Commands


def _fit(options: argparse.Namespace) -> None:
    from tfp_flows.cli import fit

    fit.fit(options)


def _sample(options: argparse.Namespace) -> None:
    flow = _load(options.model)
    points = flow.sample(options.n, seed=options.seed).numpy()
    _write_table(options.out, points, tables.names(flow.event_size))


def _score(options: argparse.Namespace) -> None:
    if options.key is None and tables.is_large(options.data):
        log_prob = _load(options.model).predict(options.data, verbose=0)
    else:
        points = tables.read(options.data, key=options.key).points
        log_prob = _load(options.model).log_prob(points).numpy()
    _write_table(options.out, log_prob, ["log_prob"])
    mean = f"log_prob of {len(log_prob):,} rows: {log_prob.mean(dtype=np.float64):.4f}"
    if len(log_prob) > 1:
        mean += f" ± {standard_error(log_prob):.4f}"
    print(f"{mean} nats", file=sys.stderr)


def _write_table(path: Path | None, values: np.ndarray, columns: Sequence[str]) -> None:
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


_COMMANDS = {
    "fit": _fit,
    "sample": _sample,
    "score": _score,
    "stages": _stages,
    "export": _export,
}


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
    except Exception as error:  # Keras raises many kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded as a flow: {reason}") from error


def _check_is_flow(path: Path) -> None:
    """Refuses what is not a saved Flow before anything in it is run."""
    with zipfile.ZipFile(path) as members:
        config = json.loads(members.read("config.json"))
    name = config.get("registered_name") or config.get("class_name")
    if name != "tfp_flows>Flow":
        raise ValueError(f"It holds a {name}, not a tfp_flows Flow.")
