"""Flows that the tests of several kinds of pictures draw."""

import pytest
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.fixture(scope="session")
def flow2():
    """Five stages over a plane; the last one ends the support in view."""
    return tfpf.Flow(
        [
            tfb.Shift([0.0, -2.0]),
            tfb.Scale([2.0, 1.5]),
            tfpf.bijectors.ShiftAndCube(3.0),
            tfpf.bijectors.Rotation2D(1.0),
            tfb.Sigmoid(),
        ],
        base=tfd.MultivariateNormalDiag([0.0, 0.0], [0.5, 0.5]),
    )


@pytest.fixture(scope="session")
def flow1():
    """Two stages over a line, of a base that is not normal."""
    bijectors = [tfb.Invert(tfb.NormalCDF()), tfb.Scale(2.0)]
    return tfpf.Flow(bijectors, base=tfd.Beta(2.0, 5.0), event_size=1)
