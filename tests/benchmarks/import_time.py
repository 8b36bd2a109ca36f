"""What the start takes: `import tfp_flows`, and four answers of the command line.

Run: python tests/benchmarks/import_time.py

The seconds are those of the processor, user and system together, which other work on
the machine disturbs less than the clock on the wall.
"""

import os
import statistics
import subprocess
import sys

COMMANDS = {
    "tfp-flows --help": ["-m", "tfp_flows", "--help"],
    "tfp-flows --version": ["-m", "tfp_flows", "--version"],
    "tfp-flows fit --epoch-count 3": ["-m", "tfp_flows", "fit", "--epoch-count", "3"],
    "tfp-flows list": ["-m", "tfp_flows", "list"],
}

# What the package takes beyond TensorFlow, Keras and TFP.
IMPORT = """
import time, tensorflow, keras, tensorflow_probability as tfp
tfp.bijectors, tfp.distributions, tfp.util, tfp.math
start = time.process_time()
import tfp_flows
print(time.process_time() - start)
"""


def processor_seconds(words: list[str]) -> float:
    """Returns the seconds of one fresh process."""
    before = os.times()
    subprocess.run([sys.executable, *words], capture_output=True)
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def import_seconds() -> float:
    """Returns the seconds of the import alone, in one fresh process."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True)
    return float(done.stdout)


def main(runs: int = 5) -> None:
    """Prints the median and the range over fresh processes."""
    measured = {
        name: [processor_seconds(words) for _ in range(runs)]
        for name, words in COMMANDS.items()
    }
    measured["import tfp_flows"] = [import_seconds() for _ in range(runs)]
    for name, seconds in measured.items():
        print(
            f"{name:<30} median {statistics.median(seconds):.3f} s, "
            f"{min(seconds):.3f} to {max(seconds):.3f} s over {runs} processes"
        )


if __name__ == "__main__":
    main()
