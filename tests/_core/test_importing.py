"""What importing the package does to others: next to nothing. One process tells all."""

import json
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import inspect, json, sys
import keras, tensorflow, tensorflow_probability as tfp

ROOTS = ("keras", "sklearn", "tensorflow", "tensorflow_probability")


def is_of(value, roots):
    home = getattr(value, "__module__", None)
    return isinstance(home, str) and home.split(".")[0] in roots


def classes(*roots):
    # From each class to its attributes; the values are held, so that none moves.
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in roots:
            for value in list(vars(module).values()):
                if inspect.isclass(value) and is_of(value, roots):
                    found[value] = dict(vars(value))
    return found


def functions(*roots):
    return {
        (name, key): value
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in roots
        for key, value in list(vars(module).items())
        if inspect.isfunction(value) and is_of(value, roots)
    }


def changed(before):
    for kind, attributes in before.items():
        now = vars(kind)
        # Python itself adds these where somebody first asks for them.
        for key in {*attributes, *now} - {"__annotations__", "__slotnames__"}:
            if now.get(key, now) is not attributes.get(key, attributes):
                yield f"{kind.__module__}.{kind.__qualname__}.{key}"


def roots_of_modules():
    return {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names


before = classes("keras", "tensorflow", "tensorflow_probability")
calls = functions("keras", "tensorflow", "tensorflow_probability")
loaded = roots_of_modules()
import tfp_flows

found = {"loaded": sorted(roots_of_modules() - loaded)}
found["plotting"] = "plotting" in vars(tfp_flows)
import sklearn.base, sklearn.mixture, sklearn.utils.validation

before |= classes("sklearn")
calls |= functions("sklearn")
for name in tfp_flows.__all__:
    getattr(tfp_flows, name)
flow = tfp_flows.recipes.real_nvp(2, layers=2, hidden=(4,))
flow.compile()
flow.fit(flow.sample(64, seed=0), verbose=0)
found["classes"] = len(before)
found["changed"] = sorted(changed(before))
found["functions"] = sorted(
    f"{module}.{name}"
    for (module, name), value in calls.items()
    if vars(sys.modules[module]).get(name) is not value
)
keras.Model.tfp_flows_mark = tfp.bijectors.Exp._forward = None
found["seen"] = sorted(changed(before))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_importing_loads_little_beyond_tfp(found):
    assert found["loaded"] == ["tfp_flows"]
    assert not found["plotting"]


@pytest.mark.slow
def test_importing_changes_no_class_of_others(found):
    assert found["classes"] > 3000
    assert found["changed"] == []
    assert found["functions"] == []


def test_a_changed_class_would_be_seen(found):
    assert len(found["seen"]) == 2
    assert found["seen"][0].endswith("Model.tfp_flows_mark")
    assert found["seen"][1].endswith("Exp._forward")
