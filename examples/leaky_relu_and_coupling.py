"""LeakyReLU and coupling layers learn a quadratic density, layer by layer.

The target is x2 = 4n, x1 = x2²/4 + n', with n and n' standard normal. The flow has nine
pairs of a LeakyReLU and an affine coupling with a small tanh network. Every log-det is
exact, and so is the gap to the target's entropy. Writes stages.png, history.png and
noise_to_data.gif, which shows the 19 stages from noise to data.

Run: python examples/leaky_relu_and_coupling.py [--out FOLDER] [--epochs N]
"""

import argparse
from pathlib import Path

import keras
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb = tfp.bijectors
tfd = tfp.distributions

BATCH_SIZE = 250


def opening_lesson() -> float:
    """Returns the density of y = 2x + 1 at 2.5, with x uniform: it is one half."""
    flow = tfpf.Flow(
        [tfb.Scale(2.0), tfb.Shift(1.0)], tfd.Uniform(0.0, 1.0), event_size=1
    )
    return float(flow.distribution.prob([2.5]))


def make_flow() -> tfpf.Flow:
    bijectors = []
    for i in range(9):
        bijectors.append(tfpf.bijectors.LeakyReLU(0.9))
        bijectors.append(
            tfpf.bijectors.AffineCoupling(
                flip=i % 2 == 1, hidden=(16,), activation="tanh", seed=i
            )
        )
    return tfpf.Flow(bijectors, event_size=2, name="leaky_relu_and_coupling")


def main(out: Path, epochs: int = 50) -> dict[str, float]:
    print(f"density of 2x + 1 at 2.5, x uniform: {opening_lesson():.3f}")
    keras.utils.set_random_seed(0)
    density = tfpf.densities.make("quadratic")
    x = density.sample(20_000, seed=0)

    flow = make_flow()
    steps = epochs * len(x) // BATCH_SIZE
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    optimizer = keras.optimizers.AdamW(rate, global_clipnorm=0.3)
    flow.compile(optimizer, steps_per_execution=20)
    history = flow.fit(
        x,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=density.sample(5_000, seed=1),
        verbose=0,
    )

    fresh = density.sample(100_000, seed=2)
    gap = float((density.log_prob(fresh) - flow.log_prob(fresh).numpy()).mean())
    print(f"entropy {density.entropy:.3f} nats; the flow is {gap:.3f} nats above it")

    out.mkdir(parents=True, exist_ok=True)
    plotting = tfpf.plotting
    plotting.plot_stages(flow).savefig(out / "stages.png", dpi=120)
    history_axes = plotting.plot_history(history, entropy=density.entropy)
    history_axes.figure.savefig(out / "history.png", dpi=150)
    plotting.animate_stages(flow, n=1000).save(
        out / "noise_to_data.gif", writer="pillow"
    )
    return {"gap": gap}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("leaky_relu_and_coupling"))
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    main(options.out, options.epochs)
