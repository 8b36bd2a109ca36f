"""Do couplings train better when they start as the identity?

Fits RealNVP, 6 couplings of 128×128, to named densities from both starts, and writes
docs/identity_start.md: nats above the exact entropy on 50,000 fresh points.

Run: python tests/benchmarks/identity_start.py [--steps 2000] [--seeds 2]
"""

import argparse
import os
import platform
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfp_flows as tfpf

DENSITIES = ("two_moons", "eight_gaussians", "quadratic")
BATCH_SIZE = 250


def gap(name: str, *, identity_start: bool, seed: int, steps: int) -> float:
    """Returns nats above the entropy after one fit."""
    keras.utils.set_random_seed(seed)
    density = tfpf.densities.make(name)
    couplings = [
        tfpf.bijectors.AffineCoupling(
            flip=i % 2 == 1,
            hidden=(128, 128),
            identity_start=identity_start,
            seed=100 * seed + i,
        )
        for i in range(6)
    ]
    flow = tfpf.Flow(couplings, event_size=2)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=0.3)
    flow.compile(optimizer, steps_per_execution=50)
    x = density.sample(100 * BATCH_SIZE, seed=seed)
    flow.fit(x, batch_size=BATCH_SIZE, epochs=steps // 100, verbose=0)
    fresh = density.sample(50_000, seed=1000 + seed)
    return float(np.mean(density.log_prob(fresh) - flow.log_prob(fresh).numpy()))


def main(steps: int, seeds: int) -> None:
    """Prints the table and writes it into the docs."""
    rows = []
    for name in DENSITIES:
        for seed in range(seeds):
            gaps = [
                gap(name, identity_start=start, seed=seed, steps=steps)
                for start in (True, False)
            ]
            rows.append(f"| {name} | {seed} | {gaps[0]:.3f} | {gaps[1]:.3f} |")
            print(rows[-1], flush=True)
    page = f"""# Identity or random start of couplings

Couplings begin as the identity, since the last layer of each conditioner begins at
zero. This table compares that with a random start of the last layer. It shows nats
above the exact entropy on 50,000 fresh points; lower is better. Each fit is of a
RealNVP with 6 couplings of 128×128, by {steps} steps of Adam (3e-3, cosine decay,
global gradient norm clipped at 0.3) with batches of {BATCH_SIZE} from
{100 * BATCH_SIZE:,} points.

| density | seed | identity start | random start |
|---|---|---|---|
{chr(10).join(rows)}

Made by `python tests/benchmarks/identity_start.py --steps {steps} --seeds {seeds}` on
{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},
TensorFlow {tf.__version__}, Keras {keras.__version__}.
"""
    target = Path(__file__).parents[2] / "docs" / "identity_start.md"
    target.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    main(options.steps, options.seeds)
