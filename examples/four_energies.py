"""Four unnormalized densities without data: a flow finds their log Z.

The energies are those of Rezende and Mohamed (2015, table 1) on the box [-4, 4]²: two
crescents, a wave, a wave that forks, and a wave that forks sharply. A flow of spline
couplings on a uniform base never leaves the box. It is fitted by reverse KL, while the
energy rises from a twentieth to its full height, so that no mode is lost. Its evidence
lower bound is then close to log Z, and its importance weights estimate log Z itself.
Writes energies.png.

Run: python examples/four_energies.py [--out FOLDER] [--epochs N]
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

import tfp_flows as tfpf

tfb = tfp.bijectors
tfd = tfp.distributions

BOX = 4.0
STEPS_PER_EPOCH = 50


def crescents(x: tf.Tensor) -> tf.Tensor:
    sides = [ridge(x[..., 0] - 2.0, 0.6), ridge(x[..., 0] + 2.0, 0.6)]
    ring = ridge(tf.norm(x, axis=-1) - 2.0, 0.4)
    return ring + tf.reduce_logsumexp(sides, 0)


def wave(x: tf.Tensor) -> tf.Tensor:
    return ridge(above_wave(x), 0.4)


def fork(x: tf.Tensor) -> tf.Tensor:
    gap = 3.0 * tf.exp(ridge(x[..., 0] - 1.0, 0.6))
    y = above_wave(x)
    return tf.reduce_logsumexp([ridge(y, 0.35), ridge(y + gap, 0.35)], 0)


def sharp_fork(x: tf.Tensor) -> tf.Tensor:
    gap = 3.0 * tf.sigmoid((x[..., 0] - 1.0) / 0.3)
    y = above_wave(x)
    return tf.reduce_logsumexp([ridge(y, 0.4), ridge(y + gap, 0.35)], 0)


def above_wave(x: tf.Tensor) -> tf.Tensor:
    return x[..., 1] - tf.sin(2.0 * math.pi * x[..., 0] / 4.0)


def ridge(distance: tf.Tensor, width: float) -> tf.Tensor:
    return -((distance / width) ** 2) / 2.0


# Log Z on the box, to the three digits that quadrature confirms.
ENERGIES = {crescents: 1.878, wave: 2.082, fork: 2.642, sharp_fork: 2.685}


def make_flow() -> tfpf.Flow:
    # Inverted, the splines are evaluated to sample, which this fit needs, and solved to
    # invert, which it does not need.
    return tfpf.Flow(
        [
            tfb.Invert(
                tfpf.bijectors.SplineCoupling(
                    flip=i % 2 == 1, bins=10, box=BOX, hidden=(64, 64), seed=i
                )
            )
            for i in range(4)
        ],
        base=tfd.Uniform(-BOX, BOX),
        event_size=2,
        name="energy",
    )


def fit(energy: Callable[[tf.Tensor], tf.Tensor], epochs: int) -> tfpf.Flow:
    flow, share = make_flow(), tf.Variable(0.0)

    def rise(epoch: int, logs: dict | None = None) -> None:
        share.assign(min(1.0, 0.05 + 0.95 * epoch / (epochs / 2)))

    # The slopes of splines jump: their path gradient is noisier than the plain one.
    model = tfpf.variational.ReverseKL(
        flow, lambda x: share * energy(x), path_gradient=False
    )
    rate = keras.optimizers.schedules.CosineDecay(1.5e-3, epochs * STEPS_PER_EPOCH)
    optimizer = keras.optimizers.Adam(
        rate, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99
    )
    model.compile(optimizer, steps_per_execution=STEPS_PER_EPOCH)
    model.fit(
        epochs=epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        seed=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=rise)],
        verbose=0,
    )
    return flow


def draw(flows: dict[Callable, tfpf.Flow], path: Path) -> None:
    n = 200  # cells along each side, coloured by the density at their centres
    middles = ((2 * np.arange(n) + 1 - n) / n * BOX).astype("float32")
    points = np.stack(np.meshgrid(middles, middles), -1)
    figure = Figure(figsize=(3 * len(flows), 6), layout="constrained")
    panels = figure.subplots(2, len(flows), sharex=True, sharey=True, squeeze=False)
    for (energy, flow), (above, below) in zip(flows.items(), panels.T, strict=True):
        target = tf.exp(energy(points) - ENERGIES[energy]).numpy()
        look = {"origin": "lower", "extent": (-BOX, BOX, -BOX, BOX), "vmin": 0.0}
        for axes, density in (
            (above, target),
            (below, tf.exp(flow.log_prob(points)).numpy()),
        ):
            axes.imshow(density, vmax=target.max(), **look)
        above.set_title(energy.__name__.replace("_", " "))
    panels[0, 0].set_ylabel("target")
    panels[1, 0].set_ylabel("flow")
    figure.savefig(path, dpi=120)


def main(out: Path, epochs: int = 20) -> dict[str, dict[str, float]]:
    flows, results = {}, {}
    for energy, known in ENERGIES.items():
        keras.utils.set_random_seed(0)
        flow = flows[energy] = fit(energy, epochs)
        sample = tfpf.variational.importance(flow, energy, 50_000, seed=1)
        log_z, error = sample.log_z
        bound = float(tf.reduce_mean(sample.log_weights))
        name = energy.__name__
        print(
            f"{name:>10}: log Z {known:.3f}; the flow's bound {bound:.3f}, by its "
            f"weights {log_z:.4f} ± {error:.4f}; ESS {sample.ess_fraction:.3f}"
        )
        results[name] = {
            "log_z": log_z,
            "standard_error": error,
            "bound": bound,
            "ess_fraction": sample.ess_fraction,
            "reach": float(tf.reduce_max(tf.abs(sample.x))),
        }
    out.mkdir(parents=True, exist_ok=True)
    draw(flows, out / "energies.png")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("four_energies"))
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    main(options.out, options.epochs)
