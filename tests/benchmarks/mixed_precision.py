"""What does bfloat16 in the networks cost in nats?

Fits recipes to named densities in float32 and with `dtype="mixed_bfloat16"`, from the
same weights and with the same batches, and shows nats above the exact entropy on fresh
points, the paired difference, and how far log_prob of the coarse fit moves when its
weights are evaluated in float32. `--write` writes the table into docs/gpu.md, between
its two comments. It measures no times, since bfloat16 is no faster on a CPU.

Run: python tests/benchmarks/mixed_precision.py [--steps 2000] [--seeds 2] [--write]
"""

import argparse

import _harness
import keras
import numpy as np

import tfp_flows as tfpf

DENSITIES = ("two_moons", "checkerboard")
RECIPES = ("real_nvp", "neural_spline")
BATCH_SIZE = 250
FRESH = 50_000  # points

BEGIN = "<!-- written by tests/benchmarks/mixed_precision.py -->"
END = "<!-- until here: bfloat16 -->"


def fitted(recipe: str, x: np.ndarray, seed: int, steps: int, dtype: str) -> tfpf.Flow:
    """Returns a recipe after its fit."""
    flow = getattr(tfpf.recipes, recipe)(x.shape[1], seed=seed, dtype=dtype)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=0.3)
    flow.compile(optimizer, jit_compile=False)
    keras.utils.set_random_seed(seed)
    epochs = max(steps * BATCH_SIZE // len(x), 1)
    flow.fit(x, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return flow


def compared(recipe: str, name: str, seed: int, steps: int) -> dict:
    """Returns nats above the entropy by precision, and what rounding changes."""
    density = tfpf.densities.make(name)
    x = density.sample(min(steps, 100) * BATCH_SIZE, seed=seed)
    fresh = density.sample(FRESH, seed=1000 + seed)
    fine, coarse = (
        fitted(recipe, x, seed, steps, dtype) for dtype in ("float32", "mixed_bfloat16")
    )
    truth = density.log_prob(fresh)
    gaps = [truth - flow.log_prob(fresh).numpy() for flow in (fine, coarse)]
    fine.set_weights(coarse.get_weights())
    moved = fine.log_prob(fresh).numpy() - coarse.log_prob(fresh).numpy()
    some = fresh[:1000].astype("float32")
    chain = coarse.distribution.bijector
    back = chain.inverse(chain.forward(some) + 0.0).numpy()
    return {
        "recipe": recipe,
        "density": name,
        "seed": seed,
        "float32": _harness.mean_and_error(gaps[0])[0],
        "bfloat16": _harness.mean_and_error(gaps[1])[0],
        "difference": _harness.mean_and_error(gaps[1] - gaps[0]),
        "moved": float(np.abs(moved).mean()),
        "moved_mean": float(moved.mean()),
        "round_trip": float(np.abs(back - some).max()),
    }


def table(rows: list[dict]) -> str:
    """Returns the comparisons as Markdown."""
    lines = [
        "| recipe | density | seed | float32 | bfloat16 | difference "
        "| moved | signed | round trip |",
        f"|{'---|' * 9}",
    ]
    for row in rows:
        mean, error = row["difference"]
        lines.append(
            f"| `{row['recipe']}` | {row['density']} | {row['seed']} "
            f"| {row['float32']:.4f} | {row['bfloat16']:.4f} "
            f"| {mean:+.4f} ± {error:.4f} | {row['moved']:.4f} "
            f"| {row['moved_mean']:+.4f} | {row['round_trip']:.0e} |"
        )
    return "\n".join(lines)


def main(options: argparse.Namespace) -> None:
    """Compares, prints, and writes when asked."""
    rows = []
    for recipe in RECIPES:
        for name in DENSITIES:
            for seed in range(options.seeds):
                rows.append(compared(recipe, name, seed, options.steps))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    block = f"""Each recipe is fitted twice, in float32 and with mixed_bfloat16, by \
{options.steps:,} steps of {BATCH_SIZE} (Adam, from 3e-3 to 0 as a cosine). The \
first two columns of numbers are nats above the exact entropy on {FRESH:,} fresh \
points, and "difference" is their paired difference with its standard error. "moved" \
is the mean absolute difference between log_prob of the coarse fit in its own \
precision and log_prob of the same weights in float32, "signed" is the mean of that \
difference, and "round trip" is the largest distance of `inverse(forward(x))` from x.

{table(rows)}

{_harness.made_by(__file__)}"""
    if options.write:
        path = _harness.DOCS / "gpu.md"
        text = path.read_text(encoding="utf-8")
        path.write_text(_harness.between(text, BEGIN, END, block), encoding="utf-8")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="the table in docs/")
    return parser.parse_args(words)


if __name__ == "__main__":
    main(arguments())
