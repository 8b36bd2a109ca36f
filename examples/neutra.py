"""NeuTra: Hamiltonian Monte Carlo through a flow that has straightened a funnel.

Neal's funnel in 25 dimensions has v ~ N(0, 3) and 24 coordinates ~ N(0, exp(v/2)). No
step size suits both its mouth and its neck, so that plain HMC never reaches the neck. A
flow is fitted to the funnel by reverse KL, without data. HMC then runs on the base side
of the flow, where the funnel is nearly a standard normal. Both samplers are compiled by
XLA, adapt their step size, use the best of several numbers of leapfrog steps, and start
from the same samples of the flow, so that plain HMC need not search. Effective samples
are those of the worst coordinate, across chains; seconds are CPU time, for burn-in and
sampling. Writes funnel.png.

Run: python examples/neutra.py [--out FOLDER]

Source: Neal (2003), "Slice sampling", section 8; Hoffman et al. (2019), "NeuTra-lizing
bad geometry in Hamiltonian Monte Carlo using neural transport".
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

import tfp_flows as tfpf

tfb = tfp.bijectors
tfd = tfp.distributions

WIDTH = 25
CHAINS, BURN_IN, DRAWS = 64, 500, 1000
LEAPFROGS = [1, 2, 4, 8, 16, 32, 64]


def funnel(x: tf.Tensor) -> tf.Tensor:
    v, rest = x[..., 0], x[..., 1:]
    spread = tf.exp(v / 2)[..., tf.newaxis]
    return tfd.Normal(0.0, 3.0).log_prob(v) + tf.reduce_sum(
        tfd.Normal(0.0, spread).log_prob(rest), -1
    )


def make_flow() -> tfpf.Flow:
    """Returns a flow in which v, the scale of the others, conditions them, and back."""
    mask = [1] + [0] * (WIDTH - 1)
    scale = tfp.util.TransformedVariable(tf.ones([WIDTH]), tfb.Exp())
    # The networks are smooth, since kinks of the density force HMC to small steps.
    options = {"hidden": (32,), "activation": "softplus"}
    return tfpf.Flow(
        [
            tfb.Scale(scale),
            tfpf.bijectors.AffineCoupling(mask, seed=0, **options),
            tfpf.bijectors.AffineCoupling(mask, flip=True, seed=1, **options),
        ],
        name="neutra",
    )


def fit(flow: tfpf.Flow, epochs: int) -> float:
    """Fits the flow to the funnel; returns the seconds that it took."""
    start = time.process_time()
    model = tfpf.variational.ReverseKL(flow, funnel)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 50 * epochs)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=10.0)
    model.compile(optimizer, steps_per_execution=50)
    model.fit(epochs=epochs, steps_per_epoch=50, seed=0, verbose=0)
    return time.process_time() - start


def sampler(bijector: tfb.Bijector | None = None) -> Callable:
    """Returns HMC on the funnel, or on the funnel seen through the bijector."""

    @tf.function(jit_compile=True, autograph=False)
    def sample(start: tf.Tensor, leapfrogs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            funnel, step_size=0.1, num_leapfrog_steps=leapfrogs
        )
        if bijector is not None:
            kernel = tfp.mcmc.TransformedTransitionKernel(kernel, bijector)
        kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
            kernel, num_adaptation_steps=BURN_IN * 4 // 5, target_accept_prob=0.8
        )
        return tfp.mcmc.sample_chain(
            DRAWS,
            start,
            kernel=kernel,
            num_burnin_steps=BURN_IN,
            trace_fn=None,
            seed=seed,
        )

    return sample


def best(sample: Callable, start: tf.Tensor) -> dict[str, Any]:
    """Runs HMC for each number of leapfrog steps; returns the best run a second."""
    seed = tf.constant([1, 2])
    sample(start, tf.constant(1), seed)  # compiles
    runs = []
    for count in LEAPFROGS:
        begin = time.process_time()
        draws = sample(start, tf.constant(count), seed).numpy()
        seconds = time.process_time() - begin
        ess = tfp.mcmc.effective_sample_size(draws, cross_chain_dims=1)
        ess = float(tf.reduce_min(ess))  # of the worst coordinate
        v = draws[..., 0]
        run = {"ess": ess, "per_second": ess / seconds, "draws": draws}
        runs.append(run | {"v_mean": float(v.mean()), "v_std": float(v.std())})
        print(
            f"  {count:2} leapfrog steps: {ess:.0f} effective of {v.size} samples in "
            f"{seconds:.2f} s, {ess / seconds:.0f} a second; std of v {v.std():.2f}"
        )
    return max(runs, key=lambda run: run["per_second"])


def draw(runs: dict[str, dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(8, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    v = np.linspace(-10, 10, 200)
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        points = run["draws"][::10].reshape(-1, WIDTH)
        axes.plot(points[:, 1], points[:, 0], ".", markersize=1, alpha=0.5)
        for side in (-2, 2):  # 95% of the samples at v lie between
            axes.plot(side * np.exp(v / 2), v, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="x1", xlim=(-30, 30), ylim=(-10, 10))
        axes.set_xticks([-20, 0, 20])
    panels[0].set_ylabel("v")
    figure.savefig(path, dpi=150)


def main(out: Path, epochs: int = 40) -> dict[str, float]:
    flow = make_flow()
    fitting = fit(flow, epochs)
    weighted = tfpf.variational.importance(flow, funnel, 20_000, seed=1)
    print(f"fitted in {fitting:.1f} s; ESS of its weights {weighted.ess_fraction:.2f}")

    start = flow.sample(CHAINS, seed=2)
    print("plain HMC")
    plain = best(sampler(), start)
    print("NeuTra")
    neutra = best(sampler(flow.distribution.bijector), start)
    ratio = neutra["per_second"] / plain["per_second"]
    print(f"NeuTra has {ratio:.0f} times as many a second; the std of v is 3")

    out.mkdir(parents=True, exist_ok=True)
    draw({"plain HMC": plain, "NeuTra": neutra}, out / "funnel.png")
    return {
        "ratio": ratio,
        "v_mean": neutra["v_mean"],
        "v_std": neutra["v_std"],
        "log_z": weighted.log_z.value,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("neutra"))
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    main(options.out, options.epochs)
