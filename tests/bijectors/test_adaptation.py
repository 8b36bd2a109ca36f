"""The hooks of a flow's parts: their defaults, and the walk from data to base."""

import numpy as np
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows._core.part import FlowPart, hooks_of
from tfp_flows.bijectors import adaptation

tfb = tfp.bijectors


def test_parts_of_tfp_have_the_defaults():
    hooks = hooks_of(tfb.Exp())
    assert hooks.context_size == 0 and hooks.required_event_size is None
    assert hooks.needs_adaptation is False
    assert hooks.outside(np.zeros((3, 2))) is None
    assert hooks.adapt_to(np.zeros(2), np.ones(2)) is False
    hooks.adapt(np.zeros((3, 2)))
    hooks.adapt_inverted(np.zeros((3, 2)))
    hooks.warn_of_cost(forward=True)


def test_a_part_of_ours_answers_for_itself():
    for part in (tfpf.bijectors.ActNorm(), tfpf.bases.Mixture(2)):
        assert isinstance(part, FlowPart) and hooks_of(part) is part
        assert part.needs_adaptation


def test_an_inverted_part_adapts_to_what_it_maps_the_data_to():
    class Doubles(tfpf.bijectors.base.Bijector):
        def __init__(self):
            super().__init__(locals())

        def _build(self, event_size, dtype):
            pass

        def _forward_and_log_det(self, x):
            return 2 * x, 0 * x[..., 0]

        def _inverse_and_log_det(self, y):
            return y / 2, 0 * y[..., 0]

        def adapt(self, y):
            self.seen = np.asarray(y)

    x = np.ones((4, 2), "float32")
    first, last = Doubles(), Doubles()
    adaptation.adapt(None, [last, tfb.Chain([tfb.Invert(first)])], x)
    np.testing.assert_array_equal(first.seen, 2 * x)
    np.testing.assert_array_equal(last.seen, 2 * x)
