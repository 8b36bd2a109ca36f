"""Wind: a speed, a direction, a humidity and a count in one density.

A speed is never negative, a direction is circular, a humidity is a share, and gusts are
counted. `support=` says so, and FlowDensity gives a density in the table's own units
(per m/s and degree, and a mass in the count) whose samples are all possible. The table
is drawn from a known process, so that the distance from the truth, in nats, is exact.
For comparison, the same estimator gets the support of the count only, so that its nats
are in the same units. Writes wind.png.

Run: python examples/supports.py [--out FOLDER] [--rows N]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

import tfp_flows as tfpf

SUPPORT = {
    "speed": "positive",  # m/s
    "direction": ("circular", 360),  # degrees, from north
    "humidity": (0, 1),
    "gusts": ("integer", 0, None),  # an hour
}
COUNT_ALONE = {"gusts": "integer"}
WEST, NORTH, SHARE_WEST = np.radians(260.0), np.radians(5.0), 0.6


def draw_wind(n: int, seed: int) -> pd.DataFrame:
    """Draws wind: mostly strong and moist from the west, else weak and dry."""
    rng = np.random.default_rng(seed)
    is_west = rng.uniform(size=n) < SHARE_WEST
    angle = rng.vonmises(np.where(is_west, WEST, NORTH), np.where(is_west, 6.0, 3.0))
    shape, mean, a, b = conditions(angle)
    speed = rng.gamma(shape, mean / shape)
    humidity, gusts = rng.beta(a, b), rng.poisson(0.3 * speed)
    columns = [speed, np.degrees(angle) % 360.0, humidity, gusts]
    return pd.DataFrame(dict(zip(SUPPORT, columns, strict=True)))


def conditions(angle: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Returns shape and mean of the speed, and both parameters of the humidity."""
    from_west = np.cos(angle - WEST)
    return 1.5, 4.0 + 3.0 * from_west, 3.0 + 2.0 * from_west, 1.2


def true_log_prob(wind: pd.DataFrame) -> np.ndarray:
    angle, speed = np.radians(wind["direction"]), wind["speed"]
    shape, mean, a, b = conditions(angle)
    west = SHARE_WEST * stats.vonmises.pdf(angle, 6.0, WEST)
    north = (1 - SHARE_WEST) * stats.vonmises.pdf(angle, 3.0, NORTH)
    return (
        np.log((west + north) * np.pi / 180.0)  # a degree, not a radian
        + stats.gamma.logpdf(speed, shape, scale=mean / shape)
        + stats.beta.logpdf(wind["humidity"], a, b)
        + stats.poisson.logpmf(wind["gusts"], 0.3 * speed)
    )


def is_possible(wind: pd.DataFrame) -> pd.Series:
    inside = (wind["speed"] >= 0) & wind["direction"].between(0, 360)
    return inside & wind["humidity"].between(0, 1) & (wind["gusts"] >= 0)


def draw(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Draws directions with speeds, humidities with counts; impossible ones orange."""
    figure = Figure((9, 5.6), layout="constrained", dpi=110)
    grid = figure.subplots(2, 3, sharex="row", sharey="row")
    for (name, wind), (upper, lower) in zip(tables.items(), grid.T, strict=True):
        possible = is_possible(wind)
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(wind))
        for rows, size, color in ((possible, 4, "#0072b2"), (~possible, 16, "#d55e00")):
            look = {"s": size, "alpha": 0.7, "linewidth": 0, "color": color}
            some = wind[rows]
            upper.scatter(some["direction"], some["speed"], **look)
            lower.scatter(some["humidity"], some["gusts"] + jitter[rows], **look)
        upper.set(title=f"{name}: {1 - possible.mean():.0%} impossible")
        upper.set(xlabel="direction in degrees", xticks=range(0, 361, 90))
        lower.set(xlabel="humidity", xticks=[0, 0.5, 1])
        upper.axhspan(-10, 0, color="0.92", zorder=0)
        for ax, ends in ((upper, (0, 360)), (lower, (0, 1))):
            for end in ends:
                ax.axvline(end, color="0.6", linewidth=0.8, zorder=0)
    grid[0, 0].set(ylabel="speed in m/s", xlim=(-70, 430), ylim=(-3, 24))
    grid[1, 0].set(ylabel="gusts an hour", xlim=(-0.25, 1.25), ylim=(-2, 10))
    figure.savefig(path)


def main(out: Path, rows: int = 3000) -> dict[str, float]:
    wind, fresh = draw_wind(rows, seed=0), draw_wind(2000, seed=1)
    tables, result = {"the table": wind[:2000]}, {}
    for name, support in (("support=", SUPPORT), ("the count alone", COUNT_ALONE)):
        density = tfpf.FlowDensity(
            support=support, layers=2, hidden=(32, 32), random_state=0, verbose=0
        ).fit(wind)
        lost = true_log_prob(fresh) - density.score_samples(fresh)
        drawn = density.sample(2000, random_state=0)
        tables[name] = drawn
        result[name] = float(lost.mean())
        result[f"{name} impossible"] = impossible = float(1 - is_possible(drawn).mean())
        error = lost.std() / np.sqrt(len(lost))
        print(
            f"{name:>15}: {lost.mean():.3f} ± {error:.3f} nats lost, {impossible:.1%} "
            "of the samples impossible"
        )
    out.mkdir(parents=True, exist_ok=True)
    draw(tables, out / "wind.png")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("supports"))
    parser.add_argument("--rows", type=int, default=3000)
    options = parser.parse_args()
    main(options.out, options.rows)
