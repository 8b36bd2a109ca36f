"""Eight schools: a flow as surrogate posterior in tfp.vi, then as a proposal.

Eight effects with an unknown mean and an unknown spread τ: where τ is small the effects
must agree, so the posterior is a funnel in log τ. `tfp.vi.fit_surrogate_posterior` fits
a flow to it with a Keras optimizer. What the flow gets wrong, Metropolis-Hastings puts
right: the flow proposes, independently of where the chain stands. It is compared with
tuned HMC on the same posterior, compiled alike, of the same number of chains, and with
the exact answer, which quadrature gives for this model. Writes posterior.png.

Run: python examples/surrogate_posterior.py [--out FOLDER] [--steps N]

Source: Rubin (1981), "Estimation in parallel randomized experiments"; the priors are
those of Gelman et al. (2013), "Bayesian data analysis", section 5.
"""

import argparse
import collections
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

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
    of_tau = tfd.HalfCauchy(0.0, 5.0).log_prob(tf.exp(log_tau)) + log_tau
    return tfd.Normal(0.0, 5.0).log_prob(mean) + of_tau


def exact_log_tau() -> tuple[float, float]:
    """Mean and standard deviation of log τ, with the effects integrated out."""
    mean, log_tau = tf.meshgrid(
        tf.linspace(-30.0, 40.0, 400), tf.linspace(-15.0, 8.0, 800)
    )
    spread = tf.sqrt(tf.exp(2 * log_tau)[..., tf.newaxis] + ERRORS**2)
    likelihood = tfd.Normal(mean[..., tf.newaxis], spread).log_prob(EFFECTS)
    log_density = hyperprior(mean, log_tau) + tf.reduce_sum(likelihood, -1)
    shares = tf.exp(log_density - tf.reduce_logsumexp(log_density))
    centre = tf.reduce_sum(shares * log_tau)
    spread = tf.sqrt(tf.reduce_sum(shares * (log_tau - centre) ** 2))
    return float(centre), float(spread)


def make_flow() -> tfpf.Flow:
    """Mean and log τ steer the effects, the effects them, and once more."""
    mask = [1, 1] + [0] * (WIDTH - 2)
    scale = tfp.util.TransformedVariable(tf.fill([WIDTH], 3.0), tfb.Exp())
    couplings = [
        tfpf.bijectors.AffineCoupling(
            mask, flip=i % 2 == 1, hidden=(32,), activation="softplus", seed=i
        )
        for i in range(4)
    ]
    return tfpf.Flow(
        [tfb.Scale(scale), *couplings, tfb.Shift(tf.Variable(tf.zeros([WIDTH])))],
        name="surrogate",
    )


def fit(flow: tfpf.Flow, steps: int) -> float:
    """Fits the flow to the posterior by tfp.vi; returns the seconds that it took."""
    start = time.perf_counter()
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    tfp.vi.fit_surrogate_posterior(
        posterior,
        flow.distribution,
        optimizer=keras.optimizers.Adam(rate, global_clipnorm=10.0),
        num_steps=steps,
        sample_size=256,
        seed=0,
    )
    return time.perf_counter() - start


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
        begin = time.perf_counter()
        draws = sample(start, tf.constant(count), seed).numpy()
        seconds = time.perf_counter() - begin
        ess = tfp.mcmc.effective_sample_size(draws, cross_chain_dims=1)
        ess = float(tf.reduce_min(ess))  # of the worst coordinate
        runs.append({"ess": ess, "seconds": seconds, "per_second": ess / seconds})
        runs[-1] |= {"log_tau": float(draws[..., 1].mean()), "draws": draws}
    return max(runs, key=lambda run: run["per_second"])


def main(out: Path, steps: int = 3000) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    flow = make_flow()
    fitting = fit(flow, steps)
    weighted = tfpf.variational.importance(flow, posterior, 20_000, seed=1)
    print(f"fitted in {fitting:.1f} s; ESS of its weights {weighted.ess_fraction:.2f}")

    start = flow.sample(CHAINS, seed=2)
    runs = {
        "HMC": best(sampler(hamiltonian), start, [4, 16, 64]),
        "flow proposal": best(sampler(lambda _: independent(flow)), start, [0]),
    }
    for name, run in runs.items():
        print(
            f"{name}: {run['ess']:.0f} effective of {CHAINS * DRAWS} samples in "
            f"{run['seconds']:.2f} s, {run['per_second']:.0f} a second; mean of log τ "
            f"{run['log_tau']:.3f}"
        )
    centre, spread = exact_log_tau()
    importance = weighted.expectation(lambda x: x[:, 1])
    print(
        f"exact mean of log τ {centre:.3f}; by importance weights "
        f"{importance.value:.3f} ± {importance.standard_error:.3f}"
    )

    out.mkdir(parents=True, exist_ok=True)
    draws = runs["flow proposal"]["draws"].reshape(-1, WIDTH)[::30]
    figure = tfpf.plotting.plot_samples(flow, draws, coordinates=(2, 1))
    figure.savefig(out / "posterior.png", dpi=150)
    hmc, proposal = runs.values()
    return {
        "ratio": proposal["per_second"] / hmc["per_second"],
        "ratio_with_fit": proposal["ess"]
        / (proposal["seconds"] + fitting)
        / hmc["per_second"],
        "log_tau_error": (proposal["log_tau"] - centre) / spread,
        "hmc_log_tau_error": (hmc["log_tau"] - centre) / spread,
        "ess_fraction": weighted.ess_fraction,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("surrogate_posterior"))
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    main(options.out, options.steps)
