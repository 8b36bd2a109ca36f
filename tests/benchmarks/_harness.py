"""What the benchmarks share: fits in processes of their own, errors, the machine."""

import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import _methods
import numpy as np

DOCS = Path(__file__).parents[2] / "docs"
LIBRARIES = (
    "tensorflow",
    "keras",
    "tensorflow-probability",
    "scikit-learn",
    "torch",
    "zuko",
    "jax",
    "flowjax",
)


def run(script: str, folder: Path, method: str, seconds: float, seed: int) -> bool:
    """Fits in a fresh process: `script --fit folder method seconds seed`.

    The process writes folder/method.json last; if that file exists, nothing is run. A
    fit that fails prints why, and the other fits still run.

    Returns:
      Whether there is a result.
    """
    result = folder / f"{method}.json"
    if not result.exists():
        words = [sys.executable, script, "--fit", folder, method, seconds, seed]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
        done = subprocess.run(
            [str(word) for word in words],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"{method} failed, code {done.returncode}: {last}", file=sys.stderr)
    return result.exists()


def fit(
    methods: dict[str, Callable], folder: Path, method: str, seconds: float, seed: int
) -> None:
    """Fits train.npy of a folder by a method of `_methods`, and scores test.npy."""
    train, validation = split(np.load(folder / "train.npy"), seed)
    clock = _methods.Clock(seconds)
    score = methods[method](train, validation, clock, seed)
    spent = clock.spent
    save(folder, method, score(np.load(folder / "test.npy")), spent)


def split(points: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns nine tenths of the points for training, one tenth for selection."""
    points = np.random.default_rng(seed).permutation(points)
    held_out = max(len(points) // 10, 1)
    return points[held_out:], points[:held_out]


def save(folder: Path, method: str, log_prob: np.ndarray, spent: float) -> None:
    """Writes the nats of the test points, and the seconds of the fit."""
    np.save(folder / f"{method}.npy", np.asarray(log_prob, float))
    (folder / f"{method}.json").write_text(json.dumps({"spent": spent}))


def load(folder: Path, method: str) -> tuple[np.ndarray, float]:
    """Returns what `save` wrote."""
    spent = json.loads((folder / f"{method}.json").read_text())["spent"]
    return np.load(folder / f"{method}.npy"), spent


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean of independent values and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def machine() -> dict[str, str | int]:
    """Returns the number of cores and the versions of installed packages."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0))
    system = {"cores": cores, "machine": platform.machine()}
    return system | {"Python": platform.python_version()} | versions


def made_by(script: str) -> str:
    """Returns the sentence that says how a page was made, without folders of paths."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    system = machine()
    cores, kind = system.pop("cores"), system.pop("machine")
    versions = ", ".join(f"{name} {version}" for name, version in system.items())
    command = shlex.join(["python", f"tests/benchmarks/{Path(script).name}", *words])
    return f"Made by `{command}` on {cores} cores ({kind}), {versions}."


def between(text: str, begin: str, end: str, block: str) -> str:
    """Returns a page whose text between two of its comments is replaced."""
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"The page must hold {begin!r} and then {end!r}.")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def write(name: str, page: str, results: list | dict) -> None:
    """Writes docs/name.md and docs/name.json."""
    (DOCS / f"{name}.md").write_text(page, encoding="utf-8")
    write_results(name, results)


def write_results(name: str, results: list | dict) -> None:
    """Writes docs/name.json."""
    record = {"machine": machine(), "results": results}
    (DOCS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
