"""Five bijectors in five orders: does the order matter, and which is best?

A cubic shear, a rotation, two couplings and a LeakyReLU are fitted to two moons in
the given order and in four others, from the same weights and on the same batches, and
compared on the same test points. Writes orders.png, which shows how far each order is
behind the best, and the density that each ended with.

Run: python examples/orders_compared.py [--out FOLDER] [--epochs N]
"""

import argparse
from pathlib import Path

import tfp_flows as tfpf


def make_flow() -> tfpf.Flow:
    return tfpf.Flow(
        [
            tfpf.bijectors.ShiftAndCube(0.2),
            tfpf.bijectors.Rotation2D(0.7),
            tfpf.bijectors.AffineCoupling(hidden=(16,), seed=0),
            tfpf.bijectors.AffineCoupling(hidden=(16,), flip=True, seed=1),
            tfpf.bijectors.LeakyReLU(0.7),
        ],
        name="orders_compared",
    )


def main(out: Path, epochs: int = 30) -> tfpf.OrderComparison:
    x = tfpf.densities.make("two_moons").sample(5_000, seed=0)
    comparison = tfpf.compare_orders(
        make_flow(), x, n=4, epochs=epochs, seed=0, verbose=0
    )
    print(comparison)
    out.mkdir(parents=True, exist_ok=True)
    comparison.plot().savefig(out / "orders.png", dpi=110)
    return comparison


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("orders_compared"))
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    main(options.out, options.epochs)
