"""Write a bijector of your own, have it checked, and fit it.

A hyperbola, y = x + k·√(1 + x²), is a smooth kink: its slope goes from 1 - k far on
the left to 1 + k far on the right, so it skews what is symmetric. TFP does not have
it. It is written like TFP's own bijectors and checked by `check_bijector`. So is a
version whose derivative is wrong: its loss would fall far below the entropy, which no
density can reach. The correct one, with its k learned, then becomes part of a Flow
between TFP's Scale and Shift. The data are 3000 points of a Gumbel distribution, whose
entropy is known. Writes density.png and skewed.keras.

Run: python examples/own_bijector.py [--out FOLDER]
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb = tfp.bijectors


class Hyperbola(tfb.Bijector):
    """y = x + k·√(1 + x²), elementwise, with -1 < k < 1."""

    def __init__(self, k, name="hyperbola"):
        parameters = dict(locals())  # lets a Flow copy and save it
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)
        self.k = k

    def _forward(self, x):
        return x + self.k * tf.sqrt(1 + x**2)

    def _inverse(self, y):
        rest = 1 - self.k**2
        return (y - self.k * tf.sqrt(y**2 + rest)) / rest

    def _forward_log_det_jacobian(self, x):
        return tf.math.log1p(self.k * x / tf.sqrt(1 + x**2))

    @classmethod
    def _parameter_properties(cls, dtype):
        return {"k": tfp.util.ParameterProperties()}


class WrongHyperbola(Hyperbola):
    """Forgets the inner derivative of √(1 + x²), which is x / √(1 + x²)."""

    def _forward_log_det_jacobian(self, x):
        return tf.math.log1p(self.k / tf.sqrt(1 + x**2))


def learned(make: type[Hyperbola]) -> Hyperbola:
    """One with a k to learn: tanh of a tf.Variable, so it stays between -1 and 1."""
    return make(tfp.util.TransformedVariable(0.1, tfb.Tanh(), name="k"))


def affine() -> list[tfb.Bijector]:
    scale = tfp.util.TransformedVariable(1.0, tfb.Exp(), name="scale")
    return [tfb.Scale(scale), tfb.Shift(tf.Variable(0.0, name="shift"))]


def fit(bijectors: list[tfb.Bijector], x: np.ndarray) -> tfpf.Flow:
    flow = tfpf.Flow(bijectors, event_size=1, name="skewed")
    flow.compile(keras.optimizers.Adam(0.02), steps_per_execution=30)
    flow.fit(x, batch_size=100, epochs=30, verbose=0)
    return flow


def main(out: Path) -> dict[str, float]:
    points = np.random.default_rng(0).normal(size=(20, 2))
    passed = tfpf.testing.check_bijector(lambda: learned(Hyperbola), points)
    print(f"Hyperbola passes {len(passed)} checks: {', '.join(passed)}\n")
    try:
        tfpf.testing.check_bijector(lambda: learned(WrongHyperbola), points)
    except tfpf.testing.CheckFailure as failure:
        print(f"{failure}\n")

    keras.utils.set_random_seed(0)
    gumbel = np.random.default_rng(0).gumbel(size=(103_000, 1)).astype("float32")
    x, fresh = gumbel[:3000], gumbel[3000:]
    gaussian = fit(affine(), x)
    flow = fit([*affine(), learned(Hyperbola), *affine()], x)
    entropy = 1 + np.euler_gamma
    gaps = {
        name: float(-fitted.log_prob(fresh).numpy().mean() - entropy)
        for name, fitted in (("gaussian", gaussian), ("flow", flow))
    }
    k = float(tf.convert_to_tensor(flow.bijectors[2].k))
    print(f"nats above the entropy: Gaussian {gaps['gaussian']:.3f}, with the ", end="")
    print(f"hyperbola {gaps['flow']:.3f}; it learned k = {k:.2f}")

    out.mkdir(parents=True, exist_ok=True)
    tfpf.plotting.plot_line(flow, x).savefig(out / "density.png", dpi=90)
    flow.save(out / "skewed.keras")
    own = {"Hyperbola": Hyperbola}  # a file names classes; yours are found by these
    again = keras.models.load_model(out / "skewed.keras", custom_objects=own)
    np.testing.assert_array_equal(again.log_prob(x[:9]), flow.log_prob(x[:9]))
    return {**gaps, "k": k}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("own_bijector"))
    main(parser.parse_args().out)
