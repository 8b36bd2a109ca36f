"""One dimension, any base: a mixture's CDF carries the data to a Beta distribution.

The data are 750 points from two Gaussians, and the base is Beta(2, 5). There is one
bijector, the CDF of a Gaussian mixture with 4 components, two more than are needed.
Writes data.png, density.png and transformation.png, and softsign.png, which shows that
a normal distribution becomes bimodal through Softsign.

Run: python examples/one_dimension.py [--out FOLDER] [--epochs N]
"""

import argparse
from pathlib import Path

import keras
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb = tfp.bijectors
tfd = tfp.distributions


def opening_lesson(out: Path) -> None:
    """Uniform on [0, 1] under y = 2x + 1; and a normal through Softsign."""
    line = tfpf.Flow(
        [tfb.Scale(2.0), tfb.Shift(1.0)], tfd.Uniform(0.0, 1.0), event_size=1
    )
    density = line.distribution.prob([[0.5], [1.5], [2.5]]).numpy()
    print(f"density of 2x + 1 at 0.5, 1.5, 2.5, x uniform: {density}")
    bimodal = tfpf.Flow([tfb.Softsign()], tfd.Normal(0.0, 3.0), event_size=1)
    tfpf.plotting.plot_stages(bimodal).savefig(out / "softsign.png", dpi=150)


def make_flow() -> tfpf.Flow:
    return tfpf.Flow(
        [tfb.Invert(tfpf.bijectors.MixtureCDF(4))],
        base=tfd.Beta(2.0, 5.0),
        event_size=1,
        name="one_dimension",
    )


def main(out: Path, epochs: int = 300) -> dict[str, float]:
    out.mkdir(parents=True, exist_ok=True)
    opening_lesson(out)
    keras.utils.set_random_seed(0)
    density = tfpf.densities.make("bimodal_1d")
    x = density.sample(750, seed=0)

    flow = make_flow()
    optimizer = keras.optimizers.AdamW(5e-3, weight_decay=1e-5, global_clipnorm=1.0)
    flow.compile(optimizer, steps_per_execution=15)
    flow.fit(x, batch_size=50, epochs=epochs, verbose=0)

    fresh = density.sample(100_000, seed=1)
    gap = float((density.log_prob(fresh) - flow.log_prob(fresh).numpy()).mean())
    print(f"entropy {density.entropy:.3f} nats; the flow is {gap:.3f} nats above it")

    # What maps the base to data is the inverse of the CDF that was learned; the
    # learned density is not the mixture's own, because the base is not uniform.
    plotting = tfpf.plotting
    plotting.plot_density(density, x).figure.savefig(out / "data.png", dpi=150)
    components = flow.bijectors[0].bijector.mixture
    axes = plotting.plot_density(flow, x, components=components)
    axes.figure.savefig(out / "density.png", dpi=150)
    axes = plotting.plot_transformation(flow, x)
    axes.figure.savefig(out / "transformation.png", dpi=150)
    return {"gap": gap}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("one_dimension"))
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    main(options.out, options.epochs)
