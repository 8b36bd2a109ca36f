"""From a fit to a service: a file for Python, a SavedModel for everybody else.

A flow is fitted to two moons for a moment and saved as .keras, which a fresh Python
process loads after `import tfp_flows`. Exported as a SavedModel it needs neither
tfp_flows nor TFP: a process that imports only TensorFlow reads points as JSON and
answers with the same log-densities and new samples. A file that was cut short, by a
broken copy for example, is refused. Writes moons.keras and the folder saved_model.

Run: python examples/save_and_serve.py [--out FOLDER]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import tfp_flows as tfpf

LOAD = """
import json, sys
import keras
import tfp_flows  # registers Flow with Keras

flow = keras.models.load_model(sys.argv[1])
print(json.dumps({"log_prob": flow.log_prob(json.load(sys.stdin)).numpy().tolist()}))
"""

SERVE = """
import json, sys
import tensorflow as tf

served = tf.saved_model.load(sys.argv[1])
log_prob = served.log_prob(tf.constant(json.load(sys.stdin)))
samples = served.sample(tf.constant(5))
answer = {"log_prob": log_prob.numpy().tolist(), "samples": samples.numpy().tolist()}
answer["loaded"] = [name for name in sys.modules if "." not in name]
print(json.dumps(answer))
"""


def in_fresh_python(script: str, path: Path, points: np.ndarray) -> dict:
    """Runs a script in a process of its own: points in, an answer out, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        input=json.dumps(points.tolist()),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def refusal(path: Path) -> str:
    """Returns the error of loading half of a file."""
    half = path.with_name("half.keras")
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        keras.models.load_model(half)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        half.unlink()
    raise RuntimeError(f"Half of {path} was taken for the whole.")


def main(out: Path) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    density = tfpf.densities.make("two_moons")
    flow = tfpf.recipes.real_nvp(2, layers=4, hidden=(32,), seed=0)
    flow.compile(keras.optimizers.Adam(3e-3))
    flow.fit(density.sample(5000, seed=0), batch_size=250, epochs=5, verbose=0)
    flow.save(out / "moons.keras")
    flow.export(out / "saved_model")

    points = density.sample(1000, seed=1).astype("float32")
    here = flow.log_prob(points).numpy()
    loaded = in_fresh_python(LOAD, out / "moons.keras", points)
    served = in_fresh_python(SERVE, out / "saved_model", points)
    difference = {
        "loaded": float(np.abs(loaded["log_prob"] - here).max()),
        "served": float(np.abs(served["log_prob"] - here).max()),
    }
    for name, largest in difference.items():
        print(f"log_prob of the {name} flow differs by at most {largest:.1e} nats")
    print(f"the server's first sample: {np.round(served['samples'][0], 3)}")
    unneeded = {"tfp_flows", "tensorflow_probability"} & set(served["loaded"])
    print(f"what it has loaded of tfp_flows and TFP: {sorted(unneeded) or 'nothing'}")
    message = refusal(out / "moons.keras")
    print(f"half of the file: {message}")
    return {**difference, "unneeded": unneeded, "refusal": message}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("save_and_serve"))
    main(parser.parse_args().out)
