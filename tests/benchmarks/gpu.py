"""How fast on a GPU? Training, log_prob and sampling beside zuko and flowjax.

Prints the devices that TensorFlow finds. Then measures the device's peak rate, by
products of square matrices, and flows of three sizes at small and large batches: ours
with and without XLA, in float32, in TF32 and in mixed precision, and the peers that
are installed, in the first two. Each library has a process of its own, and they take
turns. Rates are medians over the rounds, read after the device has finished; the share
is the rate of the networks' products relative to the peak rate at that precision.
Without a GPU the same runs on the CPU, on flows of a few weights. `--write` writes the
tables into docs/gpu.md, between its two comments, and docs/gpu.json.

Run: python tests/benchmarks/gpu.py [--cases real_nvp_2d ...] [--batches small large]
    [--methods ours zuko flowjax] [--rounds 3] [--write]
"""

import argparse
import dataclasses
import importlib.util
import itertools
import os
import subprocess
import sys

import _harness
from _speed_cases import CASES, Case, Entry, Measured, measure

BSDS300 = Case(
    "Spline couplings, 63-d as BSDS300, 8 of 256×256, 8 bins, batch 512",
    *(63, 8, (256, 256), 512, 8, 300, 2**18),
)
FLOWS = {
    "real_nvp_2d": dataclasses.replace(CASES["real_nvp_2d"], points=2**20),
    "spline_43d": dataclasses.replace(
        CASES["spline_43d"], steps=300, points=2**18, peers_points=None
    ),
    "bsds300_63d": BSDS300,
}
LARGE = {"real_nvp_2d": 65_536, "spline_43d": 16_384, "bsds300_63d": 16_384}
LARGE_STEPS = 100

# Side of the matrices, and how many products of them a round takes.
MATRICES = Case("Square matrices", 8192, 1, (), 1, 0, 50, 0)

BEGIN = "<!-- written by tests/benchmarks/gpu.py -->"
END = "<!-- until here -->"

# Lists the devices in a process that ends, which frees the GPU.
_LOOK = """
import tensorflow as tf
for gpu in tf.config.list_physical_devices("GPU"):
    details = tf.config.experimental.get_device_details(gpu)
    print("GPU:", gpu.name, details.get("device_name", "unknown"),
          "compute capability", details.get("compute_capability"))
built = tf.sysconfig.get_build_info()
print("TensorFlow", tf.__version__, "built for CUDA", built.get("cuda_version", "none"))
"""


def devices() -> list[str]:
    """Returns a line for each GPU that TensorFlow finds, and one on TensorFlow."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    words = [sys.executable, "-c", _LOOK]
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()


def reduced(case: Case) -> Case:
    """Returns a case of a few weights, for a CPU."""
    return dataclasses.replace(
        case,
        title=f"{case.title.partition(',')[0]}, {case.width}-d, 2 of 8×8",
        layers=2,
        hidden=(8, 8),
        batch_size=max(case.batch_size // 64, 8),
        steps=8,
        points=512,
    )


def cases(name: str, *, on_gpu: bool) -> dict[str, Case]:
    """Returns a flow at its small batch and at its large one."""
    small = FLOWS[name]
    title = small.title.partition(", batch")[0]
    large = dataclasses.replace(small, batch_size=LARGE[name], steps=LARGE_STEPS)
    found = {"small": small, "large": large}
    if not on_gpu:
        found = {size: reduced(case) for size, case in found.items()}
        title = found["small"].title
    return {
        size: dataclasses.replace(case, title=f"{title}, batch {case.batch_size:,}")
        for size, case in found.items()
    }


def entries(methods: list[str], *, on_gpu: bool) -> list[Entry]:
    """Returns what is measured: ours by precision and XLA, peers by precision."""
    fine = ("float32", "tf32") if on_gpu else ("float32",)  # a CPU has no TF32
    found = []
    for method in methods:
        if method == "ours":
            settings = itertools.product((*fine, "mixed"), (False, True))
            found += [Entry(method, *setting) for setting in settings]
        elif importlib.util.find_spec(method):
            found += [Entry(method, precision) for precision in fine]
        else:
            print(f"{method} is not installed, and left out.")
    return found


def rates_of_matrices(case: Case, *, on_gpu: bool) -> dict[str, float]:
    """Returns operations a second in products of matrices, by precision."""
    fine = ("float32", "tf32") if on_gpu else ("float32",)
    who = [Entry("matrices", precision) for precision in (*fine, "mixed")]
    found = measure(case, who, 3, lambda entry: entry.library, ["train"])
    return {
        entry.precision: 2 * case.width**3 * measured.medians["train"]
        for entry, measured in found.items()
        if not measured.error
    }


# Tables


PRECISIONS = {
    "float32": "float32, TF32 off",
    "tf32": "float32, TF32 on",
    "mixed": "mixed bfloat16",
}
OPERATIONS = {  # for each multiplication on a point's way
    "train": lambda case: 6 * case.batch_size,  # forward, and twice that back
    "log_prob": lambda case: 2,
    "sample": lambda case: 2,
}


def table(
    case: Case, found: dict[Entry, Measured], matrices: dict[str, float], kind: str
) -> str:
    """Returns medians, their ratio to the fastest peer, and the share of the device.

    Args:
      case: what was measured.
      found: by whom.
      matrices: operations a second, by precision.
      kind: of device, "GPU" or "CPU": a peer on another is no peer.
    """
    lines = [
        f"### {case.title}",
        "",
        "Steps a second, thousands of points a second "
        f"({case.points:,} of them), and shares in percent.",
        "",
        "| | products | XLA | device | training | × | % | log_prob | × | % "
        "| sample | × | % |",
        f"|{'---|' * 13}",
    ]
    here = {e: m for e, m in found.items() if m.device.startswith(kind)}
    for entry, measured in found.items():
        xla = {None: "", False: "no", True: "yes"}[entry.xla]
        cells = [entry.method, PRECISIONS[entry.precision], xla]
        if measured.error:
            lines.append(f"| {' | '.join(cells)} | {measured.error} |{' |' * 9}")
            continue
        cells.append(measured.device.partition(" ")[0])
        for task, unit in (("train", 1), ("log_prob", 1000), ("sample", 1000)):
            rate = measured.medians[task]
            peers = [
                m.medians[task]
                for e, m in here.items()
                if e.method != "ours" and not m.error
            ]
            cells.append(f"{rate / unit:,.0f}")
            cells.append(f"{rate / max(peers):.2f}" if peers and entry in here else "")
            done = rate * case.multiplications * OPERATIONS[task](case)
            most = matrices.get(entry.precision)
            cells.append(f"{100 * done / most:.1f}" if most else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def block(tables: list[str], matrices: dict[str, float], devices: list[str]) -> str:
    """Returns what stands between the two comments of docs/gpu.md."""
    on_gpu = devices[0].startswith("GPU")
    where = f"Measured on {devices[0]}." if on_gpu else "**Measured on a CPU only**"
    if not on_gpu:
        where += (
            ", with flows of a few weights: these tables show that the command runs, "
            "and nothing about a GPU."
        )
    lines = "\n".join(
        f"| {PRECISIONS[precision]} | {rate / 1e12:,.3g} |"
        for precision, rate in matrices.items()
    )
    made = _harness.made_by(__file__)
    return (
        f"{where} {devices[-1]}.\n\n"
        "The peak rate of the device, by products of square matrices:\n\n"
        f"| products | TFLOP/s |\n|---|---|\n{lines}\n\n"
        + "\n".join(tables)
        + f"\n{made}"
    )


def record(case: Case, found: dict[Entry, Measured]) -> dict:
    """Returns what docs/gpu.json keeps of one table."""
    return {
        "case": dataclasses.asdict(case),
        "measured": [
            dataclasses.asdict(entry) | dataclasses.asdict(measured)
            for entry, measured in found.items()
        ],
    }


def main(options: argparse.Namespace) -> None:
    """Lists devices, measures, prints, and writes when asked."""
    # Otherwise each library takes all of the memory for itself.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    listed = devices()
    on_gpu = listed[0].startswith("GPU")
    print(*listed, sep="\n")
    if not on_gpu:
        print("TensorFlow sees no GPU: the CPU is measured, on flows of a few weights.")
    square = MATRICES if on_gpu else dataclasses.replace(MATRICES, width=256, steps=4)
    matrices = rates_of_matrices(square, on_gpu=on_gpu)
    for precision, rate in matrices.items():
        print(f"{PRECISIONS[precision]}: {rate / 1e12:.3g} TFLOP/s")
    who = entries(options.methods, on_gpu=on_gpu)
    tables, records = [], []
    for name in options.cases:
        for size, case in cases(name, on_gpu=on_gpu).items():
            if size not in options.batches:
                continue
            found = measure(case, who, options.rounds, lambda entry: entry.library)
            kind = "GPU" if on_gpu else "CPU"
            for entry, measured in found.items():
                if measured.device and not measured.device.startswith(kind):
                    print(
                        f"{entry.method} ran on {measured.device}: it is no peer here.",
                        file=sys.stderr,
                    )
            tables.append(table(case, found, matrices, kind))
            records.append(record(case, found))
            print(tables[-1], flush=True)
    if options.write:
        page = (_harness.DOCS / "gpu.md").read_text(encoding="utf-8")
        text = _harness.between(page, BEGIN, END, block(tables, matrices, listed))
        results = {"devices": listed, "matrices": matrices, "flows": records}
        _harness.write("gpu", text, results)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=FLOWS, default=list(FLOWS))
    sizes = ["small", "large"]
    parser.add_argument("--batches", nargs="+", choices=sizes, default=sizes)
    methods = ["ours", "zuko", "flowjax"]
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the tables in docs/")
    return parser.parse_args(words)


if __name__ == "__main__":
    main(arguments())
