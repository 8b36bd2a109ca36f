"""Makes the pictures of the README and the docs, from the examples.

Run: python docs/make_figures.py
"""

import runpy
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# example -> the pictures of its that are shown
SHOWN = {
    "two_moons": ["stages.png", "samples.png"],
    "five_stages": ["orders.png"],
    "one_dimension": ["transformation.png"],
}


def main() -> None:
    """Runs the examples and copies what they drew into docs/figures."""
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
