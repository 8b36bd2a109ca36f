"""How the package and its command line start, each in a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import tfp_flows as tfpf

SCRIPT = "import sys; from tfp_flows.cli import main; sys.exit(main())"
HEAVY = ("keras", "matplotlib", "sklearn", "tensorflow")
SAVED = sorted((Path(__file__).parents[1] / "saved").glob("*/*.keras"))

# Prints what a fresh process knows once it has imported the package. Keras imports
# matplotlib and scikit-learn where it finds them, so they are hidden at first.
AFTER_IMPORT = """if True:
    import json, sys

    hidden = ("matplotlib", "sklearn")
    sys.modules.update(dict.fromkeys(hidden))
    import tfp_flows as tfpf

    names = dir(tfpf)
    import keras

    registered = sorted(keras.saving.get_custom_objects())
    flow = keras.models.load_model(sys.argv[1], compile=False)
    for name in hidden:
        del sys.modules[name]
    tfpf.FlowDensity, tfpf.plotting, tfpf.report
    used = [name for name in hidden if name in sys.modules]
    print(json.dumps([names, registered, type(flow).__name__, used]))
"""

# Prints what the command line knows before and after its first flow is loaded.
AT_COMMAND_LINE = """if True:
    import json, sys

    sys.argv[0] = "/usr/bin/tfp-flows"
    from tfp_flows.cli import main

    before = "tensorflow" in sys.modules
    code = main(["export", sys.argv[1], sys.argv[2]])
    import keras

    print(json.dumps([before, code, sorted(keras.saving.get_custom_objects())]))
"""


def python(*words, **options):
    """Runs Python in a fresh process."""
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, **options
    )


def registered():
    """Returns the names of the classes of ours that are registered, not of tests."""
    return sorted(
        name
        for name, one in keras.saving.get_custom_objects().items()
        if one.__module__.startswith("tfp_flows.")
    )


def test_importing_the_package_registers_its_classes_and_loads_nothing_heavy():
    done = python("-c", AFTER_IMPORT, SAVED[0])
    assert done.returncode == 0, done.stderr
    names, known, loaded, used = json.loads(done.stdout)
    assert names == sorted(tfpf.__all__)
    assert known == registered()
    assert loaded == "Flow"
    assert used == ["matplotlib", "sklearn"]


@pytest.mark.slow
def test_a_flow_at_the_command_line_may_hold_any_of_our_classes(tmp_path):
    done = python("-c", AT_COMMAND_LINE, SAVED[0], tmp_path / "exported")
    assert done.returncode == 0, done.stderr
    before, code, known = json.loads(done.stdout.splitlines()[-1])
    assert not before
    assert code == 0
    assert known == registered()


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--help"], 0, "COMMAND"),
        (["--version"], 0, "tfp-flows "),
        (["fit", "two_moons", "--out", "x", "--epoch-count", "3"], 2, "--epoch-count"),
        (["list"], 0, "neural_spline"),
    ],
)
@pytest.mark.parametrize("called", ["script", "module"])
def test_the_command_line_answers_before_anything_heavy_is_imported(
    tmp_path, called, words, code, expected
):
    if called == "script":
        script = tmp_path / "tfp-flows"
        script.write_text(SCRIPT)
        start = [script]
    else:
        start = ["-m", "tfp_flows"]
    done = python("-X", "importtime", *start, *words)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    imported = {line.split("|")[-1].strip() for line in lines if "|" in line}
    said = done.stdout + "\n".join(line for line in lines if "|" not in line)
    assert expected in said
    assert "tfp_flows.cli.words" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.slow
def test_tensorflow_is_silent_unless_its_log_is_asked_for(tmp_path):
    model = tmp_path / "model.keras"
    tfpf.Flow([tfpf.bijectors.Rotation2D(0.5)]).save(model)
    words = ["-m", "tfp_flows", "sample", model, "-n", 1]
    silent = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = python(*words, env=silent)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    done = python(*words, env={**silent, "TF_CPP_MIN_LOG_LEVEL": "0"})
    assert done.returncode == 0
    assert "TensorFlow binary is optimized" in done.stderr
