"""Does memory stay flat while generated rows are streamed from files?"""

import math
import os
import shutil
import threading
from pathlib import Path
from typing import Self

import numpy as np

SHARD = 1_000_000  # rows a file


class Watch(threading.Thread):
    """Records twice a second how many MB of this process are resident.

    Attributes:
      phase: what the process is doing, in words.
      readings: phase and MB, one after the other.
    """

    def __init__(self, every: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.phase, self.readings = "start", []
        self._every, self._over = every, threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._every):
            self.readings.append(self._reading())

    def _reading(self) -> tuple[str, float]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        return self.phase, round(resident, 1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()
        self.readings.append(self._reading())


def mix_of(width: int) -> np.ndarray:
    """Returns the matrix that correlates normal columns."""
    return np.eye(width) + 0.5 * np.tri(width, k=-1)


def entropy(width: int) -> float:
    """Returns that of the generated rows, in nats."""
    return width / 2 * math.log(2 * math.pi * math.e)  # the matrix has determinant 1


def generate(folder: Path, rows: int, width: int) -> None:
    """Writes correlated normal rows as float32 shards, where they are not there yet.

    Raises:
      OSError: the disk has no room for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:05}.npy" for i in range(-(-rows // SHARD))]
    needed = 4 * width * SHARD * sum(not path.exists() for path in paths)
    free = shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise OSError(f"{folder} has room for {free:,} bytes of {needed:,}.")
    mix = mix_of(width).T.astype("float32")
    for i, path in enumerate(paths):
        if not path.exists():
            count = min(SHARD, rows - i * SHARD)
            draw = np.random.default_rng(i)
            np.save(path, draw.standard_normal((count, width), "float32") @ mix)


def measure(folder: Path, batch_size: int) -> dict:
    """Streams one epoch of a folder into a small flow, and returns what was resident.

    Returns:
      rows, width, MB of the rows, MB resident before the first row, at most and at the
      end of the epoch, the growth in its last nine tenths, nats above the entropy of
      rows that were generated, and the readings.
    """
    with Watch() as watch:
        watch.phase = "import"
        import tfp_flows as tfpf
        from tfp_flows.data.streams import Stream

        watch.phase = "one pass"
        stream = Stream(folder)
        width = stream.widths["x"]
        flow = tfpf.recipes.real_nvp(width, layers=4, hidden=(32, 32), seed=0)
        flow.compile("adam")
        watch.phase = "one epoch"
        history = flow.fit(stream, batch_size=batch_size, verbose=0).history
    resident = {
        phase: [mb for found, mb in watch.readings if found == phase]
        for phase in ("import", "one pass", "one epoch")
    }
    epoch = resident["one epoch"]
    return {
        "rows": len(stream),
        "width": width,
        "batch_size": batch_size,
        "rows_mb": len(stream) * width * 4 / 2**20,
        "before_mb": (resident["import"] or epoch)[-1],
        "most_mb": max(mb for _, mb in watch.readings),
        "end_mb": epoch[-1],
        "growth_mb": epoch[-1] - epoch[len(epoch) // 10],
        "nats_above_entropy": history["loss"][-1] - entropy(width),
        "readings": watch.readings,
    }


def draw(found: dict, path: Path) -> None:
    """Draws the curve: MB that were resident at each reading."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    phases, resident = zip(*found["readings"], strict=True)
    axes.axhline(found["rows_mb"], color="0.5", linestyle="--", label="the rows alone")
    for i, phase in enumerate(dict.fromkeys(phases)):
        at = [n for n, other in enumerate(phases) if other == phase]
        axes.plot(at, [resident[n] for n in at], color=f"C{i}", label=phase)
    axes.set(xlabel="reading, two a second", ylabel="MB resident", ylim=(0, None))
    axes.legend(loc="lower right", ncols=4)
    figure.savefig(path, dpi=90)


def block(found: dict, figure: str, made_by: str) -> str:
    """Returns the paragraph of docs/scaling.md on the measurement."""
    text = {name: f"{found[name]:,.0f}" for name in found if name != "readings"}
    return f"""{text["rows"]} rows of {text["width"]} columns, {text["rows_mb"]} MB of
float32 in shards of {SHARD:,}: one pass that counts, checks and sums up, then one epoch
of a small RealNVP in batches of {text["batch_size"]}. Resident were {text["before_mb"]}
MB after the imports, {text["most_mb"]} MB at most, and {text["end_mb"]} MB at the end:
{found["growth_mb"]:+,.0f} MB over the last nine tenths of the epoch. Its mean loss is
{found["nats_above_entropy"]:.3f} nats above the entropy of the generated rows.

![Resident memory at each reading](figures/{figure})

{made_by}"""
