"""Five bijectors, the density after each, and two shuffled orders.

A Gaussian is shifted, scaled, bent by a cubic, rotated and squashed into the unit
square. Nothing is fitted: the point is to see what each bijector does, and that the
order matters. Writes stages.png and orders.png.

Run: python examples/five_stages.py [--out FOLDER]
"""

import argparse
from pathlib import Path

import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb = tfp.bijectors
tfd = tfp.distributions


def make_flow() -> tfpf.Flow:
    return tfpf.Flow(
        [
            tfb.Shift([0.0, -2.0]),
            tfb.Scale([2.0, 1.5]),
            tfpf.bijectors.ShiftAndCube(seed=0),  # a coefficient from Normal(3, 1)
            tfpf.bijectors.Rotation2D(seed=0),  # an angle from Uniform(0, 2π)
            tfb.Sigmoid(),
        ],
        base=tfd.MultivariateNormalDiag([0.0, 0.0], [0.5, 0.5]),
        name="five_stages",
    )


def main(out: Path) -> tfpf.Flow:
    flow = make_flow()
    out.mkdir(parents=True, exist_ok=True)
    tfpf.plotting.plot_stages(flow, columns=3).savefig(out / "stages.png", dpi=150)
    tfpf.plotting.plot_orders(flow, n=2, seed=1).savefig(out / "orders.png", dpi=150)
    return flow


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("five_stages"))
    main(parser.parse_args().out)
