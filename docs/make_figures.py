"""Makes the pictures of the README and the docs, by the examples and the pages.

Run: python docs/make_figures.py
"""

import contextlib
import re
import runpy
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow_probability as tfp

import tfp_flows as tfpf

ROOT = Path(__file__).parents[1]
# example -> the pictures of its that are shown
SHOWN = {
    "two_moons": ["stages.png", "samples.png"],
    "five_stages": ["orders.png"],
    "one_dimension": ["transformation.png"],
    "orders_compared": ["orders.png"],
    "supports": ["wind.png"],
    "anomaly_detection": ["scores.png"],
    "own_bijector": ["density.png"],
    "flow_in_a_model": ["halves.png"],
}


def draw_pictures() -> None:
    """Draws the pictures of docs/pictures.md into docs/figures."""
    tfb, plotting = tfp.bijectors, tfpf.plotting
    flow = tfpf.Flow(
        [tfb.Scale([1.0, 0.5]), tfb.Sinh(), tfpf.bijectors.Rotation2D(0.6)]
    )
    x = tfpf.densities.make("bimodal_1d").sample(500, seed=0)
    mixture = tfb.Invert(tfpf.bijectors.MixtureCDF(2))
    line = tfpf.Flow([mixture], tfp.distributions.Uniform(), event_size=1)
    line.compile(keras.optimizers.Adam(0.05))
    line.fit(x, batch_size=50, epochs=20, verbose=0)
    wide = tfpf.Flow([tfb.Scale(np.linspace(0.5, 2.0, 24, dtype="float32"))])
    data = np.random.default_rng(0).normal(size=(1000, 24))
    pictures = {
        "warp": plotting.plot_warp(flow),
        "log_det": plotting.plot_log_det(flow, stage=2).figure,
        "stage": plotting.plot_stage(flow, 3).figure,
        "line": plotting.plot_line(line, x),
        "marginals": plotting.plot_marginals(wide, data),
    }
    for name, figure in pictures.items():
        figure.savefig(ROOT / "docs" / "figures" / f"pictures_{name}.png", dpi=90)


def draw_page(name: str) -> None:
    """Runs the Python of a page, and keeps the pictures that it saves."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec("\n".join(blocks), {"__name__": name})
        for picture in Path(folder).glob("*.png"):
            shutil.copy(picture, ROOT / "docs" / "figures" / f"{name}_{picture.name}")


def main() -> None:
    """Runs the examples and copies what they drew into docs/figures."""
    draw_pictures()
    for page in ("quickstart", "own_bijector"):
        draw_page(page)
    for example, pictures in SHOWN.items():
        run = runpy.run_path(str(ROOT / "examples" / f"{example}.py"))["main"]
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
            for picture in pictures:
                target = ROOT / "docs" / "figures" / f"{example}_{picture}"
                target.parent.mkdir(exist_ok=True)
                shutil.copy(Path(folder) / picture, target)


if __name__ == "__main__":
    main()
