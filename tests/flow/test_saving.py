"""Files: what is saved comes back to the bit, and nothing in a file is run."""

import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    AdditiveCoupling,
    AffineCoupling,
    LeakyReLU,
    MixtureCDF,
    Rotation2D,
    ShiftAndCube,
)
from tfp_flows.bijectors.base import Bijector

tfb = tfp.bijectors
tfd = tfp.distributions


def positive(value, bijector=None):
    return tfp.util.TransformedVariable(
        tf.constant(value, tf.float32), bijector or tfb.Softplus()
    )


def variable(value):
    return tf.Variable(value, dtype=tf.float32)


def zoo():
    """Ours and TFP's, nested, shared, with every kind of parameter."""
    shared = AffineCoupling(hidden=(8,), seed=3, identity_start=False)
    shift = variable([0.3, -0.2])
    return tfpf.Flow(
        [
            tfb.Shift(shift),
            tfb.Scale(positive([1.0, 2.0])),
            shared,
            tfb.ScaleMatvecTriL(positive(np.eye(2), tfb.FillScaleTriL())),
            tfb.SinhArcsinh(variable([0.1, 0.2]), positive(1.2)),
            tfb.Permute([1, 0]),
            tfb.Chain([tfb.Shift(shift), tfb.Invert(Rotation2D(0.3)), LeakyReLU(0.7)]),
            tfb.Invert(tfb.Chain([tfb.Shift([0.5, 0.5]), tfb.Scale(2.0)])),
            tfb.Softplus(),
            tfb.Invert(tfb.Softplus()),
            shared,
            tfb.RationalQuadraticSpline(
                bin_widths=variable(np.full([2, 4], 2.0)),
                bin_heights=variable(np.full([2, 4], 2.0)),
                knot_slopes=positive(np.ones([2, 3])),
                range_min=-4.0,
            ),
            tfb.Softsign(),
            tfb.Sigmoid(low=-3.0, high=3.0),
            ShiftAndCube(0.1),
            AdditiveCoupling("halves", hidden=(4,), seed=1),
            MixtureCDF(3),
            tfb.Invert(MixtureCDF(2)),
        ],
        base=tfd.MixtureSameFamily(
            tfd.Categorical(logits=variable([0.0, 1.0])),
            tfd.MultivariateNormalDiag(
                variable([[0.0, 1.0], [-1.0, 0.5]]), positive(np.ones([2, 2]))
            ),
        ),
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A trained zoo, its file, and points with their log_prob."""
    flow = zoo()
    x = flow.sample(100, seed=1).numpy()
    # In eager mode: half a minute less than a trace of eighteen stages.
    flow.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    before = [weight.numpy() for weight in flow.trainable_variables]
    flow.fit(x, batch_size=50, epochs=2, verbose=0)
    after = [weight.numpy() for weight in flow.trainable_variables]
    folder = tmp_path_factory.mktemp("zoo")
    flow.save(folder / "zoo.keras")
    np.save(folder / "x.npy", x)
    np.save(folder / "log_prob.npy", flow.log_prob(x))
    return flow, folder, x, before, after


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().split("\n")[-1]


class TestZoo:
    def test_every_weight_trains(self, fitted):
        _, _, _, before, after = fitted
        # base 3, shift 1 (twice in the chain), scale 1, coupling 5 (twice), tril 1,
        # sinh-arcsinh 2, rotation 1, leaky 1, spline 3, cube 1, additive 4, mixtures 6.
        assert len(before) == 29
        still = [
            i
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            if (a == b).all()
        ]
        assert not still

    @pytest.mark.slow
    def test_another_process_gets_the_same_bits(self, fitted):
        _, folder, *_ = fitted
        code = """
import sys, numpy as np, keras, tfp_flows
folder = sys.argv[1]
flow = keras.models.load_model(folder + "/zoo.keras")
expected = np.load(folder + "/log_prob.npy")
print((flow.log_prob(np.load(folder + "/x.npy")).numpy() == expected).all())
"""
        assert run(code, folder) == "True"

    @pytest.mark.slow
    def test_the_loaded_flow_is_the_same_in_everything(self, fitted):
        flow, folder, x, *_ = fitted
        loaded = keras.models.load_model(folder / "zoo.keras")
        assert [s.name for s in loaded.stages(2)] == [s.name for s in flow.stages(2)]
        assert loaded.bijectors[2] is loaded.bijectors[10]
        assert len(loaded.trainable_variables) == len(flow.trainable_variables)
        assert int(loaded.optimizer.iterations) == 4
        np.testing.assert_array_equal(loaded.sample(5, seed=2), flow.sample(5, seed=2))
        loss = [f.fit(x, epochs=1, shuffle=False, verbose=0) for f in (flow, loaded)]
        assert loss[0].history == loss[1].history

    @pytest.mark.slow
    def test_a_loaded_flow_can_be_saved_again(self, fitted, tmp_path):
        _, folder, x, *_ = fitted
        once = keras.models.load_model(folder / "zoo.keras")
        once.save(tmp_path / "again.keras")
        twice = keras.models.load_model(tmp_path / "again.keras")
        np.testing.assert_array_equal(once.log_prob(x), twice.log_prob(x))

    @pytest.mark.slow
    def test_reordered_copies_everything(self, fitted):
        flow, _, x, *_ = fitted
        copy = flow.reordered(range(len(flow.bijectors)))
        np.testing.assert_array_equal(copy.log_prob(x), flow.log_prob(x))
        assert copy.bijectors[2] is copy.bijectors[10]
        mine = {id(v.value) for v in flow.variables}
        assert mine.isdisjoint(id(v.value) for v in copy.variables)

    @pytest.mark.slow
    def test_saved_model_runs_without_us_or_tfp(self, fitted):
        flow, folder, x, *_ = fitted
        flow.export(folder / "saved_model")
        np.save(folder / "now.npy", flow.log_prob(x))
        code = """
import sys, numpy as np, tensorflow as tf
folder = sys.argv[1]
served = tf.saved_model.load(folder + "/saved_model")
log_prob = served.log_prob(tf.constant(np.load(folder + "/x.npy")))
error = np.abs(log_prob - np.load(folder + "/now.npy")).max()
samples = served.sample(tf.constant(7))
assert samples.shape == (7, 2) and np.isfinite(samples).all()
assert not {"tfp_flows", "tensorflow_probability"} & set(sys.modules)
print(error)
"""
        assert float(run(code, folder)) < 1e-6


@pytest.mark.slow
def test_weights_files(fitted, tmp_path):
    flow, _, x, *_ = fitted
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = zoo()
    assert np.any(other.log_prob(x) != flow.log_prob(x))
    other.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(other.log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize(
    "base",
    [
        lambda: tfd.Blockwise([tfd.Normal(0.0, 1.0), tfd.Gumbel(0.0, 1.0)]),
        lambda: tfd.SinhArcsinh(0.0, 1.0, 0.1, 1.0),
        lambda: tfd.GeneralizedPareto(-9.0, 1.0, 0.1),
    ],
)
def test_a_base_that_shares_its_name_with_a_bijector(base, tmp_path):
    flow = tfpf.Flow([Rotation2D(0.3)], base(), event_size=2)
    flow.save(tmp_path / "flow.keras")
    again = keras.models.load_model(tmp_path / "flow.keras")
    x = np.ones([3, 2], "float32")
    for copy in (again, flow.reordered([0])):
        np.testing.assert_array_equal(copy.log_prob(x), flow.log_prob(x))


def test_numbers_of_numpy_stay_numbers(tmp_path):
    """TFP takes bijectors for equal by them, and then need not invert what it made."""
    low, high = np.float64(-1), np.float64(1)
    flow = tfpf.Flow(
        [tfb.Sigmoid(low, high), tfb.Invert(tfb.Sigmoid(low, high))],
        event_size=2,
        dtype="float64",
    )
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    first, second = loaded.bijectors
    assert first.parameters["low"] == low
    assert type(first.parameters["low"]) is np.float64
    assert hash(first) == hash(second.bijector) and first == second.bijector
    x = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_array_equal(
        loaded.distribution.log_prob(x), flow.distribution.log_prob(x)
    )


def test_two_layers_of_one_network_share_it(tmp_path):
    network = keras.Sequential([keras.layers.Dense(4, "tanh")])
    flow = tfpf.Flow(
        [
            AffineCoupling(network=network, identity_start=False, seed=0),
            AffineCoupling(network=network, flip=True, identity_start=False, seed=1),
        ],
        event_size=2,
    )
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    first, second = loaded.bijectors
    assert first.parameters["network"] is second.parameters["network"]
    x = np.ones((3, 2), "float32")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


class UsersShift(tfb.Bijector):
    """As the TFP documentation writes one."""

    def __init__(self, by, name="users_shift"):
        parameters = dict(locals())
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)
        self.by = tf.Variable(by)

    def _forward(self, x):
        return x + self.by

    def _inverse(self, y):
        return y - self.by

    def _inverse_log_det_jacobian(self, y):
        return tf.zeros_like(y)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}


class UsersStretch(Bijector):
    """On the base of ours, whose `get_config` it inherits."""

    def __init__(self, factors=(1.0, 1.0), *, name=None):
        super().__init__(locals(), name=name)

    def _build(self, event_size, dtype):
        self._log = tf.Variable(tf.math.log(tf.constant(self.parameters["factors"])))

    def _log_det(self):
        return tf.reduce_sum(self._log)

    def _forward_and_log_det(self, x):
        return x * tf.exp(self._log), tf.zeros_like(x[..., 0]) + self._log_det()

    def _inverse_and_log_det(self, y):
        return y * tf.exp(-self._log), tf.zeros_like(y[..., 0]) - self._log_det()


class UsersLayer(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return x @ self.kernel


class TestForeign:
    def test_a_users_bijector_is_refused_by_name_unless_passed_in(self, tmp_path):
        flow = tfpf.Flow([UsersShift(2.0)], event_size=2)
        flow.save(tmp_path / "flow.keras")
        with pytest.raises(ValueError, match=r"class 'UsersShift'.*is refused"):
            keras.models.load_model(tmp_path / "flow.keras")
        loaded = keras.models.load_model(
            tmp_path / "flow.keras", custom_objects={"UsersShift": UsersShift}
        )
        np.testing.assert_array_equal(loaded.sample(3, seed=0), flow.sample(3, seed=0))
        shuffled = tfpf.Flow([UsersShift(2.0), tfb.Exp()], event_size=2).shuffled(
            seed=0
        )
        assert [s.name for s in shuffled.stages(2)][1:] == ["Exp", "UsersShift"]

    def test_a_users_bijector_on_our_base_keeps_its_arguments(self, tmp_path):
        flow = tfpf.Flow([UsersStretch((2.0, 3.0))], event_size=2)
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(
            tmp_path / "flow.keras", custom_objects={"UsersStretch": UsersStretch}
        )
        assert loaded.bijectors[0].parameters["factors"] == (2.0, 3.0)
        np.testing.assert_array_equal(loaded.sample(3, seed=0), flow.sample(3, seed=0))

    def test_a_users_layer_is_refused_by_name_unless_passed_in(self, tmp_path):
        flow = tfpf.Flow([AffineCoupling(network=UsersLayer())], event_size=2)
        flow.save(tmp_path / "flow.keras")
        with pytest.raises(ValueError, match=r"'UsersLayer'.*is refused"):
            keras.models.load_model(tmp_path / "flow.keras")
        loaded = keras.models.load_model(
            tmp_path / "flow.keras", custom_objects={"UsersLayer": UsersLayer}
        )
        x = np.ones((3, 2), "float32")
        np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
        assert flow.reordered([0]).count_params() == flow.count_params()

    def test_an_object_that_hides_its_arguments_raises(self, tmp_path):
        class Secretive(UsersShift):
            def __init__(self, by):
                super().__init__(by)
                self._parameters = None

        flow = tfpf.Flow([Secretive(1.0)], event_size=2)
        with pytest.raises(TypeError, match=r"Secretive.*\['by'\].*parameters=dict"):
            flow.save(tmp_path / "flow.keras")


def rewrite(source, target, change):
    """Copies a `.keras` file with its config changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"]["structure"][1])
                content = json.dumps(config).encode()
            new.writestr(name, content)


HOSTILE = {
    "a class of Python's": {"class_name": "subprocess.Popen", "config": {"args": "id"}},
    "a module of TFP's": {"class_name": "tfb.os", "config": {}},
    "a private name": {"class_name": "tfb.__class__", "config": {}},
    "a path through TFP": {"class_name": "tfb.bijector.os.system", "config": {}},
    "a function": {"class_name": "function", "name": "os.system"},
    "a distribution as a class": {"class_name": "tfd.kl_divergence", "config": {}},
    "a marshalled lambda": {
        "class_name": "keras",
        "config": {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {
                "name": "lambda",
                "function": {
                    "class_name": "__lambda__",
                    "config": {"code": "4wAAAA=="},
                },
            },
        },
    },
    "somebody's layer": {
        "class_name": "keras",
        "config": {"module": "os", "class_name": "system", "config": {"command": "id"}},
    },
    "a layer that runs a saved model": {
        "class_name": "keras",
        "config": {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": "/tmp/evil"},
        },
    },
    "a kept object": {"class_name": "kept", "index": 0},
    "a lost reference": {"class_name": "same", "id": 99},
    "a number": 3,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    flow = tfpf.Flow([tfb.Exp()], event_size=2)
    flow.save(tmp_path / "good.keras")
    rewrite(
        tmp_path / "good.keras",
        tmp_path / "bad.keras",
        lambda bijectors: bijectors.__setitem__(0, HOSTILE[name]),
    )
    with pytest.raises((ValueError, TypeError)) as caught:
        keras.models.load_model(tmp_path / "bad.keras")
    assert len(str(caught.value)) < 1500


def test_truncated_files_are_refused(fitted, tmp_path):
    _, folder, *_ = fitted
    whole = (folder / "zoo.keras").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.keras").write_bytes(whole[:size])
        with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
            keras.models.load_model(tmp_path / "cut.keras")


@pytest.mark.parametrize("load", ["load_model", "load_weights"])
def test_a_flipped_bit_in_the_weights_is_noticed(load, tmp_path):
    # Large enough for Keras to read it in pieces.
    flow = tfpf.Flow([AffineCoupling(hidden=(150, 150), seed=0)], event_size=2)
    path = tmp_path / "flow.keras"
    flow.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile), match=r"checksum|CRC"):
        if load == "load_model":
            keras.models.load_model(path)
        else:
            flow.load_weights(path)


def test_a_compiled_flow_is_loaded_ready_to_fit(tmp_path):
    flow = tfpf.Flow([AffineCoupling(hidden=(4,), seed=0)], event_size=2)
    flow.compile("adam")
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")  # and nothing is warned
    assert len(loaded.optimizer.variables) == len(flow.optimizer.variables)


def test_files_are_written_whole_or_not_at_all(fitted, tmp_path, monkeypatch):
    flow, *_ = fitted
    path = tmp_path / "flow.keras"
    path.write_text("the good old file")

    def fails(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save", fails)
    with pytest.raises(OSError, match="No space left"):
        flow.save(path)
    assert path.read_text() == "the good old file"
    assert os.listdir(tmp_path) == ["flow.keras"]


def test_save_paths(fitted, tmp_path):
    flow, *_ = fitted
    with pytest.raises(ValueError, match=r"must end in .keras"):
        flow.save(tmp_path / "flow.h5")
    (tmp_path / "flow.keras").write_text("mine")
    with pytest.raises(FileExistsError):
        flow.save(tmp_path / "flow.keras", overwrite=False)


def test_export_replaces_nothing_but_a_saved_model(tmp_path):
    flow = tfpf.Flow([tfb.Exp()], event_size=2)
    for _ in range(2):
        flow.export(tmp_path / "served")
    (tmp_path / "served" / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "served", tmp_path / "served" / "thesis.txt"):
        with pytest.raises(FileExistsError, match="holds other things"):
            flow.export(folder)
    assert (tmp_path / "served" / "thesis.txt").read_text() == "mine"
