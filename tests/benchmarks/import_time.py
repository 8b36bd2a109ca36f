"""What `import tfp_flows` costs beyond TensorFlow, Keras and TFP, in seconds.

Run: python tests/benchmarks/import_time.py
"""

import statistics
import subprocess
import sys

CODE = """
import time, tensorflow, keras, tensorflow_probability as tfp
tfp.bijectors, tfp.distributions, tfp.util, tfp.math
start = time.perf_counter()
import tfp_flows
print(time.perf_counter() - start)
"""


def main(runs: int = 5) -> None:
    """Prints the median and the range over fresh processes."""
    seconds = [
        float(subprocess.run([sys.executable, "-c", CODE], capture_output=True).stdout)
        for _ in range(runs)
    ]
    print(
        f"import tfp_flows: median {statistics.median(seconds):.3f} s, "
        f"{min(seconds):.3f} to {max(seconds):.3f} s over {runs} processes"
    )


if __name__ == "__main__":
    main()
