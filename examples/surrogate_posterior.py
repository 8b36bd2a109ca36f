"""Eight schools: a flow as surrogate posterior in tfp.vi, then as a proposal.

Eight effects have an unknown mean and an unknown spread τ. Where τ is small the
effects must agree, so the posterior is a funnel in log τ.
`tfp.vi.fit_surrogate_posterior` fits a flow to it with a Keras optimizer.
Metropolis-Hastings corrects the errors of the flow, which proposes points
independently of the chain's state. It is compared with HMC on the same posterior,
which is compiled too, has the same chains, adapts its step size and uses the best of
several numbers of leapfrog steps, and with the exact answer, which quadrature gives
for this model. Effective samples are those of the worst coordinate, across chains;
seconds are CPU time, for burn-in and sampling. Writes posterior.png.

Run: python examples/surrogate_posterior.py [--out FOLDER] [--steps N]

Source: Rubin (1981), "Estimation in parallel randomized experiments". The priors are
ours: mean ~ N(0, 5), log τ ~ N(1, 1).
"""

import argparse
import collections
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

EFFECTS = tf.constant([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = tf.constant([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
WIDTH = 10  # the mean, log τ, and the true effect at each school
CHAINS, BURN_IN, DRAWS = 64, 500, 1000


def posterior(x: tf.Tensor) -> tf.Tensor:
    """Log-density of points (mean, log τ, effects), up to a constant."""
    mean, log_tau, effects = x[..., 0], x[..., 1], x[..., 2:]
    each = tfd.Normal(mean[..., tf.newaxis], tf.exp(log_tau)[..., tf.newaxis])
    return (
        hyperprior(mean, log_tau)
        + tf.reduce_sum(each.log_prob(effects), -1)
        + tf.reduce_sum(tfd.Normal(effects, ERRORS).log_prob(EFFECTS), -1)
    )


def hyperprior(mean: tf.Tensor, log_tau: tf.Tensor) -> tf.Tensor:
    return tfd.Normal(0.0, 5.0).log_prob(mean) + tfd.Normal(1.0, 1.0).log_prob(log_tau)


def exact_log_tau() -> tuple[np.ndarray, np.ndarray]:
    """Returns values of log τ and their density, the rest integrated out."""
    values = tf.linspace(-15.0, 8.0, 800)
    mean, log_tau = tf.meshgrid(tf.linspace(-30.0, 40.0, 400), values)
    spread = tf.sqrt(tf.exp(2 * log_tau)[..., tf.newaxis] + ERRORS**2)
    likelihood = tfd.Normal(mean[..., tf.newaxis], spread).log_prob(EFFECTS)
    log_density = hyperprior(mean, log_tau) + tf.reduce_sum(likelihood, -1)
    shares = tf.nn.softmax(tf.reduce_logsumexp(log_density, -1))
    return values.numpy(), (shares / (values[1] - values[0])).numpy()


def make_flow() -> tfpf.Flow:
    """Returns a flow in which log τ, with the mean, conditions the effects.

    The last network is linear: where τ is small the effects equal the mean, which a
    linear network represents exactly.
    """
    log_tau = [0, 1] + [0] * (WIDTH - 2)
    both = [1, 1] + [0] * (WIDTH - 2)
    start = [3.0, 1.0] + [3.0] * (WIDTH - 2)
    scale = tfp.util.TransformedVariable(start, tfb.Exp())
    shift = tf.Variable([5.0, 1.0] + [5.0] * (WIDTH - 2))
    options = {"hidden": (32,), "activation": "softplus"}
    return tfpf.Flow(
        [
            tfb.Scale(scale),
            tfpf.bijectors.AffineCoupling(log_tau, seed=0, **options),
            tfpf.bijectors.AffineCoupling(both, seed=1, **options),
            tfpf.bijectors.AffineCoupling(both, seed=2, hidden=()),
            tfb.Shift(shift),
        ],
        name="surrogate",
    )


def fit(flow: tfpf.Flow, steps: int) -> float:
    """Fits the flow to the posterior by tfp.vi; returns the seconds that it took."""
    start = time.process_time()
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    tfp.vi.fit_surrogate_posterior(
        posterior,
        flow.distribution,
        optimizer=keras.optimizers.Adam(rate, global_clipnorm=10.0),
        num_steps=steps,
        sample_size=256,
        seed=0,
    )
    return time.process_time() - start


Proposed = collections.namedtuple(
    "Proposed", ["target_log_prob", "log_acceptance_correction", "proposal_log_prob"]
)


class Proposal(tfp.mcmc.TransitionKernel):
    """Proposes points of a distribution wherever the chain stands."""

    is_calibrated = False  # MetropolisHastings accepts or rejects

    def __init__(self, target_log_prob: Callable, distribution: tfd.Distribution):
        self.target_log_prob = target_log_prob
        self.distribution = distribution

    def one_step(self, state: tf.Tensor, previous: Proposed, seed: Any = None) -> Any:
        """Returns a proposal drawn from the flow, wherever the chain is."""
        x, log_q = self.distribution.experimental_sample_and_log_prob(
            state.shape[:-1], seed=seed
        )
        correction = previous.proposal_log_prob - log_q
        return x, Proposed(self.target_log_prob(x), correction, log_q)

    def bootstrap_results(self, state: tf.Tensor) -> Proposed:
        """Returns what is known of the first state."""
        log_q = self.distribution.log_prob(state)
        return Proposed(self.target_log_prob(state), tf.zeros_like(log_q), log_q)


def independent(flow: tfpf.Flow) -> tfp.mcmc.TransitionKernel:
    return tfp.mcmc.MetropolisHastings(Proposal(posterior, flow.distribution))


def hamiltonian(leapfrogs: tf.Tensor) -> tfp.mcmc.TransitionKernel:
    return tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(
            posterior, step_size=0.1, num_leapfrog_steps=leapfrogs
        ),
        num_adaptation_steps=BURN_IN * 4 // 5,
        target_accept_prob=0.8,
    )


def sampler(make_kernel: Callable) -> Callable:
    @tf.function(jit_compile=True, autograph=False)
    def sample(start: tf.Tensor, leapfrogs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tfp.mcmc.sample_chain(
            DRAWS,
            start,
            kernel=make_kernel(leapfrogs),
            num_burnin_steps=BURN_IN,
            trace_fn=None,
            seed=seed,
        )

    return sample


def best(sample: Callable, start: tf.Tensor, leapfrogs: list[int]) -> dict[str, Any]:
    """Runs the chains for each number of leapfrogs; returns the best run a second."""
    seed = tf.constant([1, 2])
    sample(start, tf.constant(1), seed)  # compiles
    runs = []
    for count in leapfrogs:
        begin = time.process_time()
        draws = sample(start, tf.constant(count), seed).numpy()
        seconds = time.process_time() - begin
        ess = tfp.mcmc.effective_sample_size(draws, cross_chain_dims=1)
        ess = float(tf.reduce_min(ess))  # of the worst coordinate
        log_tau = draws[..., 1]
        mean, std = float(log_tau.mean()), float(log_tau.std())
        runs.append({"per_second": ess / seconds, "draws": draws})
        runs[-1] |= {"mean": mean, "std": std}
        print(
            f"  {count:2} leapfrog steps: {ess:.0f} effective of {log_tau.size} in "
            f"{seconds:.2f} s, {ess / seconds:.0f} a second; log τ {mean:.3f} ± "
            f"{std:.3f}"
        )
    return max(runs, key=lambda run: run["per_second"])


def draw(runs: dict[str, dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    *panels, margin = figure.subplots(1, 3, sharey=True)
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        points = run["draws"][::10].reshape(-1, WIDTH)
        axes.plot(points[:, 2], points[:, 1], ".", markersize=1, alpha=0.5)
        axes.set(title=name, xlabel="effect at the first school", xlim=(-30, 50))
        margin.hist(
            run["draws"][..., 1].ravel(),
            bins=80,
            range=(-4, 5),
            density=True,
            histtype="step",
            orientation="horizontal",
            label=name,
        )
    values, density = exact_log_tau()
    margin.plot(density, values, color="black", linewidth=1, label="exact")
    margin.set(title="log τ", xlabel="density", ylim=(-4, 5))
    margin.legend(loc="lower right")
    panels[0].set_ylabel("log τ")
    figure.savefig(path, dpi=150)


def main(out: Path, steps: int = 2000) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    flow = make_flow()
    fitting = fit(flow, steps)
    weighted = tfpf.variational.importance(flow, posterior, 20_000, seed=1)
    print(f"fitted in {fitting:.1f} s; ESS of its weights {weighted.ess_fraction:.2f}")

    start = flow.sample(CHAINS, seed=2)
    print("HMC")
    hmc = best(sampler(hamiltonian), start, [1, 2, 4, 8, 16, 32, 64])
    print("flow as proposal")
    proposal = best(sampler(lambda _: independent(flow)), start, [0])
    ratio = proposal["per_second"] / hmc["per_second"]
    values, density = exact_log_tau()
    mean = np.average(values, weights=density)
    std = np.sqrt(np.average((values - mean) ** 2, weights=density))
    print(f"{ratio:.0f} times as many a second; log τ is {mean:.3f} ± {std:.3f}")

    out.mkdir(parents=True, exist_ok=True)
    draw({"HMC": hmc, "flow as proposal": proposal}, out / "posterior.png")
    return {
        "ratio": ratio,
        "mean_error": (proposal["mean"] - mean) / std,
        "std_ratio": proposal["std"] / std,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("surrogate_posterior"))
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    main(options.out, options.steps)
