"""Chains of all our bijectors and the common ones of TFP, drawn by hypothesis.

Each bijector is put where its domain is. A chain is checked, fitted, saved and loaded;
its flow must come back to the bit. The draws are those of a fixed seed, so that a
failure repeats itself.
"""

import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import strategies as st

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    IAF,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Autoregressive,
    AutoregressiveSpline,
    Bounded,
    Columns,
    ContinuousFlow,
    Coupling,
    Gaussianize,
    Householder,
    LeakyReLU,
    LULinear,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureCDFCoupling,
    NumericalInverse,
    Permute,
    Planar,
    Radial,
    ResidualBlock,
    Rotation,
    Rotation2D,
    ShiftAndCube,
    Shuffle,
    Spline,
    SplineCoupling,
    Standardize,
    Sylvester,
    elementwise,
)

__all__ = ["OURS", "run", "run_apart"]

tfb = tfp.bijectors
tfd = tfp.distributions

POINTS, CONTEXT_SIZE = 6, 2
LINE, POSITIVE, UNIT, SYMMETRIC, CIRCLE, ANY = (
    "line",
    "positive",
    "unit",
    "symmetric",
    "circle",
    "any",
)
FAR = 1e6
# Points inside the domains where bases live, and not far out: what four stages make of
# them is then still within reach of float32.
INNER = {
    LINE: (-1.2, 1.2),
    POSITIVE: (0.4, 2.0),
    UNIT: (0.15, 0.85),
    CIRCLE: (-3.0, 3.0),
}


class Place(NamedTuple):
    """Where a bijector is to stand, and how to draw its arguments."""

    draw: Callable
    size: int
    dtype: str
    context_size: int

    def seed(self) -> int:
        return self.draw(st.integers(0, 99))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def numbers(self, low=0.4, high=1.6, shape=None, positive=True) -> Any:
        """Parameters as TFP takes them: constant, variable, or kept positive."""
        shape = (
            self.draw(st.sampled_from([(), (self.size,)])) if shape is None else shape
        )
        rng = np.random.default_rng(self.seed())
        value = tf.constant(rng.uniform(low, high, shape), self.dtype)
        kind = self.draw(st.integers(0, 1 + positive))
        if kind == 0:
            return value
        if kind == 1:
            return tf.Variable(value)
        return tfp.util.TransformedVariable(value, tfb.Softplus())

    def real(self, value: float) -> np.generic:
        return np.dtype(self.dtype).type(value)  # or TFP takes it for float32

    def small(self, **options) -> dict[str, Any]:
        """Options of one of ours: of a small network, often with a context."""
        conditional = self.context_size and self.flag()
        return {
            "seed": self.seed(),
            "hidden": self.draw(st.sampled_from([(4,), (), (3, 4)])),
            "context_size": self.context_size if conditional else 0,
            **options,
        }

    def network(self, **options) -> dict[str, Any]:
        return self.small(identity_start=self.flag(), **options)

    def coupling(self, **options) -> dict[str, Any]:
        masks = st.sampled_from(["alternating", "halves"])
        return self.network(mask=self.draw(masks), flip=self.flag(), **options)

    def order(self) -> list[int]:
        return self.draw(st.permutations(range(self.size)))

    def box(self) -> Any:
        return self.draw(st.sampled_from(["data", 4.0, (-5.0, 3.0)]))

    def map(self) -> elementwise.ElementwiseMap:
        return self.draw(
            st.sampled_from(
                [
                    elementwise.AffineMap(),
                    elementwise.BernsteinMap(4, box=self.box()),
                    elementwise.MixtureCDFMap(2),
                ]
            )
        )


class Kind(NamedTuple):
    """A bijector from one domain onto another, for widths from `least` to `most`."""

    start: str
    end: str
    make: Callable[[Place], tfb.Bijector]
    least: int = 1
    most: int = 5


def tril(p: Place) -> Any:
    rng = np.random.default_rng(p.seed())
    value = np.tril(0.3 * rng.normal(size=(p.size, p.size)), -1)
    value = tf.constant(value + np.diag(rng.uniform(0.5, 1.5, p.size)), p.dtype)
    if p.flag():
        return tfp.util.TransformedVariable(
            value, tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)
        )
    return value


def blockwise(p: Place) -> tfb.Bijector:
    at = p.draw(st.integers(1, p.size - 1))
    parts = [
        tfb.Shift(p.numbers(shape=(at,), positive=False)),
        tfb.Scale(p.numbers(shape=(p.size - at,))),
    ]
    return tfb.Blockwise(parts, block_sizes=[at, p.size - at])


def spline(p: Place) -> tfb.Bijector:
    return tfb.RationalQuadraticSpline(
        bin_widths=p.numbers(2.0, 2.0, (p.size, 4), positive=False),
        bin_heights=p.numbers(2.0, 2.0, (p.size, 4), positive=False),
        knot_slopes=p.numbers(0.5, 1.5, (p.size, 3)),
        range_min=-4.0,
    )


OURS = {
    IAF: Kind(LINE, LINE, lambda p: IAF(p.order(), **p.network())),
    ActNorm: Kind(LINE, LINE, lambda p: ActNorm(**p.small())),
    AdditiveCoupling: Kind(
        LINE, LINE, lambda p: AdditiveCoupling(**p.coupling()), least=2
    ),
    AffineCoupling: Kind(LINE, LINE, lambda p: AffineCoupling(**p.coupling()), least=2),
    Autoregressive: Kind(
        LINE,
        LINE,
        lambda p: Autoregressive(p.map(), p.order(), **p.network()),
    ),
    AutoregressiveSpline: Kind(
        LINE,
        LINE,
        lambda p: AutoregressiveSpline(
            p.order(), bins=4, box=p.box(), affine=p.flag(), **p.network()
        ),
    ),
    Columns: Kind(
        LINE,
        LINE,
        lambda p: Columns(
            Householder(**p.network()), p.order()[: p.draw(st.integers(1, p.size))]
        ),
    ),
    Coupling: Kind(LINE, LINE, lambda p: Coupling(p.map(), **p.coupling()), least=2),
    ContinuousFlow: Kind(LINE, LINE, lambda p: ContinuousFlow(**p.network()), most=2),
    Gaussianize: Kind(LINE, LINE, lambda p: Gaussianize(2, **p.small())),
    Householder: Kind(LINE, LINE, lambda p: Householder(**p.network())),
    LULinear: Kind(LINE, LINE, lambda p: LULinear(bias=p.flag(), **p.network())),
    LeakyReLU: Kind(LINE, LINE, lambda p: LeakyReLU(0.6, **p.small())),
    MaskedAutoregressive: Kind(
        LINE,
        LINE,
        lambda p: MaskedAutoregressive(p.order(), **p.network()),
    ),
    MixtureCDF: Kind(LINE, UNIT, lambda p: MixtureCDF(2, **p.small())),
    MixtureCDFCoupling: Kind(
        LINE,
        LINE,
        lambda p: MixtureCDFCoupling(components=2, **p.coupling()),
        least=2,
    ),
    NumericalInverse: Kind(
        LINE,
        LINE,
        lambda p: NumericalInverse(AdditiveCoupling(**p.coupling())),
        least=2,
    ),
    Permute: Kind(ANY, ANY, lambda p: Permute(p.order())),
    Planar: Kind(LINE, LINE, lambda p: Planar(**p.network())),
    Radial: Kind(LINE, LINE, lambda p: Radial(**p.network())),
    ResidualBlock: Kind(LINE, LINE, lambda p: ResidualBlock(**p.network(hidden=(4,)))),
    Rotation: Kind(LINE, LINE, lambda p: Rotation(**p.network()), least=2),
    Rotation2D: Kind(LINE, LINE, lambda p: Rotation2D(0.5, **p.small()), 2, 2),
    ShiftAndCube: Kind(LINE, LINE, lambda p: ShiftAndCube(0.3, **p.small()), least=2),
    Shuffle: Kind(ANY, ANY, lambda p: Shuffle(seed=p.seed())),
    Spline: Kind(LINE, LINE, lambda p: Spline(4, box=p.box(), **p.small())),
    SplineCoupling: Kind(
        LINE,
        LINE,
        lambda p: SplineCoupling(bins=4, box=p.box(), affine=p.flag(), **p.coupling()),
        least=2,
    ),
    Standardize: Kind(LINE, LINE, lambda p: Standardize(0.3, 1.5)),
    Sylvester: Kind(LINE, LINE, lambda p: Sylvester(min(2, p.size), **p.network())),
    Bounded: Kind(LINE, UNIT, lambda p: Bounded()),
}
CIRCULAR = [
    Kind(CIRCLE, CIRCLE, lambda p: Spline(4, circular=True, **p.small())),
    Kind(
        CIRCLE,
        CIRCLE,
        lambda p: SplineCoupling(bins=4, circular=True, **p.coupling()),
        least=2,
    ),
    Kind(
        CIRCLE,
        CIRCLE,
        lambda p: AutoregressiveSpline(bins=4, circular=True, **p.network()),
    ),
    Kind(LINE, CIRCLE, lambda p: Bounded(-math.pi, math.pi)),
]
TFP = [
    Kind(ANY, ANY, lambda p: tfb.Permute(p.order())),
    Kind(LINE, LINE, lambda p: tfb.Shift(p.numbers(-1.0, 1.0, positive=False))),
    Kind(LINE, LINE, lambda p: tfb.Scale(p.numbers())),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Scale(p.numbers())),
    Kind(LINE, LINE, lambda p: tfb.ScaleMatvecDiag(p.numbers(shape=(p.size,)))),
    Kind(LINE, LINE, lambda p: tfb.ScaleMatvecTriL(tril(p))),
    Kind(LINE, LINE, lambda p: tfb.ScaleMatvecLU(tril(p), p.order())),
    Kind(LINE, LINE, lambda p: tfb.SinhArcsinh(p.real(0.2), p.numbers())),
    Kind(LINE, LINE, lambda p: tfb.Sinh()),
    Kind(LINE, LINE, lambda p: tfb.Cumsum()),
    Kind(LINE, LINE, lambda p: tfb.DiscreteCosineTransform()),
    Kind(LINE, LINE, spline),
    Kind(LINE, LINE, blockwise, least=2),
    Kind(LINE, POSITIVE, lambda p: tfb.Exp()),
    Kind(LINE, POSITIVE, lambda p: tfb.Softplus(p.numbers())),
    Kind(POSITIVE, LINE, lambda p: tfb.Log()),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Square()),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Reciprocal()),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Power(p.real(1.5))),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Expm1()),
    Kind(POSITIVE, POSITIVE, lambda p: tfb.Log1p()),
    Kind(LINE, UNIT, lambda p: tfb.Sigmoid()),
    Kind(LINE, UNIT, lambda p: tfb.NormalCDF()),
    Kind(LINE, UNIT, lambda p: tfb.GumbelCDF(p.real(0.2), p.numbers())),
    Kind(LINE, UNIT, lambda p: tfb.MoyalCDF(p.real(0.2), p.real(1.1))),
    Kind(POSITIVE, UNIT, lambda p: tfb.WeibullCDF(p.numbers(), p.real(1.2))),
    Kind(UNIT, UNIT, lambda p: tfb.KumaraswamyCDF(p.numbers(), p.numbers())),
    Kind(LINE, SYMMETRIC, lambda p: tfb.Tanh()),
    Kind(LINE, SYMMETRIC, lambda p: tfb.Softsign()),
    Kind(LINE, SYMMETRIC, lambda p: tfb.Sigmoid(p.real(-1), p.real(1))),
]
RARE = OURS[ContinuousFlow]  # whose solver costs as much as twenty of the others
COMMON = [kind for kind in (*OURS.values(), *CIRCULAR, *TFP) if kind is not RARE]


# Chains


class Drawn(NamedTuple):
    """A flow, points of its base, and their contexts."""

    flow: tfpf.Flow
    z: np.ndarray
    context: np.ndarray | None
    in_graphs: bool


@st.composite
def flows(draw, dtype) -> Drawn:
    size = draw(st.integers(1, 5))
    context_size = draw(st.sampled_from([0, 0, CONTEXT_SIZE]))
    place = Place(draw, size, dtype, context_size)
    start = domain = draw(st.sampled_from([LINE] * 4 + [POSITIVE, UNIT, CIRCLE]))
    chain = []
    for _ in range(draw(st.integers(1, 4))):
        stage, domain = draw(stages(place, domain))
        chain.append(stage)
    if len(chain) > 1 and draw(st.integers(0, 4)) == 0:  # two of them as one stage
        chain[-2:] = [tfb.Chain(chain[:-3:-1])]
    flow = tfpf.Flow(chain, base(place, start), size, dtype=dtype)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    z = rng.uniform(*INNER[start], (POINTS, size)).astype(dtype)
    context = rng.normal(size=(POINTS, CONTEXT_SIZE)).astype(dtype)
    in_graphs = draw(st.integers(0, 9)) == 0
    return Drawn(flow, z, context if flow.context_size else None, in_graphs)


@st.composite
def stages(draw, place, domain) -> tuple[tfb.Bijector, str]:
    if domain == LINE and place.size <= 2 and draw(st.integers(0, 99)) == 0:
        return RARE.make(place), LINE
    fitting = [kind for kind in COMMON if kind.least <= place.size <= kind.most]
    ways = [(kind, False) for kind in fitting if kind.start in (domain, ANY)]
    ways += [(kind, True) for kind in fitting if kind.end in (domain, ANY)]
    kind, is_inverted = draw(st.sampled_from(ways))
    stage = kind.make(place)
    end = kind.start if is_inverted else kind.end
    return tfb.Invert(stage) if is_inverted else stage, domain if end == ANY else end


def base(place: Place, domain: str) -> tfd.Distribution | None:
    one = np.ones([place.size], place.dtype)
    if domain == UNIT:
        return tfd.Independent(tfd.Beta(one, place.numbers(shape=(place.size,))), 1)
    if domain == POSITIVE:
        return tfd.Independent(
            tfd.Gamma(2 * one, place.numbers(shape=(place.size,))), 1
        )
    if domain == CIRCLE:
        return tfd.Independent(tfd.Uniform(-math.pi * one, math.pi * one), 1)
    kind = place.draw(st.sampled_from(["default", "numbers", "mixture"]))
    if kind == "default":
        return None
    if kind == "numbers":
        return tfd.StudentT(one[0] * 3, one[0] * 0, place.numbers(shape=()))
    return tfpf.bases.Mixture(
        place.size, 2, dtype=place.dtype, seed=place.seed(), hidden=(3,)
    )


def check(drawn: Drawn, folder: Path) -> None:
    flow, z, context, in_graphs = drawn
    x = checked_points(flow, z, context)
    hypothesis.assume(np.abs(x).max() < FAR)  # where samples are further yet
    data = x if context is None else {"x": x, "context": context}
    flow.compile(keras.optimizers.Adam(1e-3), run_eagerly=not in_graphs)
    if flow.trainable_weights:
        with warnings.catch_warnings():  # a box of a few points leaves many out
            warnings.filterwarnings("ignore", message=".* lie outside the box")
            history = flow.fit(data, batch_size=POINTS // 2, verbose=0).history
        losses = history["loss"]
        assert np.isfinite(losses).all()
        assert int(flow.optimizer.iterations) == 2
    else:
        with pytest.raises(ValueError, match="Nothing to fit"):
            flow.fit(data)
    check_file(flow, x, context, in_graphs, folder / "flow.keras")


def checked_points(flow, z, context):
    """Returns the points x = f(z), once f⁻¹ and log p at them are right."""
    distribution = flow.distribution if context is None else flow.given(context)
    chain = distribution.bijector
    start = tf.Variable(z)  # gradients with a solver inside need no constants
    with tf.GradientTape(persistent=True) as tape:
        value = chain.forward(tf.identity(start))
        columns = tf.unstack(value, axis=-1)
    x = value.numpy()
    assert np.isfinite(x).all()
    back = chain.inverse(tf.constant(x)).numpy()
    log_prob = distribution.log_prob(tf.constant(x)).numpy()
    assert log_prob.shape == (POINTS,)
    if x.dtype == np.float32:  # which has no numbers left beside the ends of a support
        hypothesis.assume(not meets_an_end(chain, z))
    assert np.isfinite(back).all() and np.isfinite(log_prob).all()
    if x.dtype == np.float64:  # rounding of float32 may be anything after four stages
        jacobian = np.stack([tape.gradient(c, start).numpy() for c in columns], 1)
        expected = distribution.distribution.log_prob(tf.constant(z)).numpy()
        expected = expected - np.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(back, z, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    return x


def meets_an_end(chain, z, near=1e-5):
    """Whether the points come near to 0 or 1 between the stages, or at last."""
    for stage in reversed(chain.bijectors):
        z = stage.forward(z)
        if min(np.abs(z).min(), np.abs(z - 1).min()) < near:
            return True
    return False


def check_file(flow, x, context, in_graphs, path):
    flow.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_config() == flow.get_config()
    for mine, theirs in zip(flow.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    answers = []
    for one in (flow, loaded):
        distribution = one.distribution if context is None else one.given(context)
        answers.append([distribution.log_prob(tf.constant(x))])
        if in_graphs and context is None:
            answers[-1] += [one.log_prob(x), one.sample(3, seed=0)]
    assert np.isfinite(answers[0][0]).all()
    for mine, theirs in zip(*answers, strict=True):
        assert not np.isnan(mine).any()
        np.testing.assert_array_equal(mine, theirs)


def run(chains: int, seed: int, dtype: str, folder: Path) -> None:
    """Checks so many chains; a folder is needed for their files."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=chains,
        deadline=None,
        database=None,
        # A smaller chain would take minutes to find: each is traced.
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(flows(dtype))
    def every_chain(drawn):
        check(drawn, folder)

    every_chain()


def run_apart(
    chains: int, seed: int, dtype: str, folder: Path, filters: Sequence[str]
) -> None:
    """Does so in a process of its own, with these filters of warnings.

    TensorFlow keeps every graph that has a custom gradient: a thousand chains in one
    process would fill the memory.
    """
    options = [f"-W{each}" for each in filters]
    words = [sys.executable, *options, __file__, str(chains), str(seed), dtype, folder]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
