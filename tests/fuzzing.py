"""Things that nobody should pass, drawn from a numpy generator, and damaged bytes."""

import datetime
import decimal
import fractions
import functools
import pathlib
import warnings
import zipfile

import keras
import numpy as np
import pandas as pd
import scipy.sparse
import tensorflow as tf

__all__ = ["Payload", "anything", "array", "damaged", "points", "repacked"]


class Payload:
    """Leaves a file where somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def points(rng, width=2):
    """Clean points, `(n, width)`, as NumPy has them."""
    return rng.normal(size=(rng.integers(1, 6), width))


def array(rng, width=2):
    """An array that may be as it should, or not in one or two ways."""
    x = points(rng, width)
    with np.errstate(all="ignore"):
        for _ in range(2):
            x = np.asarray(pick(rng, CHANGES)(rng, x))
    return x


def _spoilt(rng, x):
    if x.dtype.kind != "f":
        return x
    x = np.array(x, np.float64, copy=True)
    if x.size:
        x.flat[rng.integers(x.size)] = pick(rng, [np.nan, np.inf, -np.inf])
    return x


def _as_dtype(rng, x):
    names = ["f2", "f4", ">f8", "g", "i1", "u8", "?", "c8", "U5", "S5", "O", "M8[s]"]
    return x.astype(pick(rng, names)) if x.dtype == np.float64 else x


def _of_objects(rng, x):
    x = np.asarray(x).astype(object)
    things = [None, "3", "three", 10**400, decimal.Decimal(2), 1j, [1], pd.NA, b"1"]
    if x.size:
        x.flat[rng.integers(x.size)] = pick(rng, things)
    return x


def _cut(rng, x):
    if not x.ndim or not len(x):
        return x
    ways = [x[..., :1], x[..., :0], x[:0], x[0], x.T, x[np.newaxis], x[::-1]]
    return pick(rng, [*ways, np.repeat(x, 2, axis=-1), np.asfortranarray(x)])


CHANGES = [
    lambda rng, x: x,
    _spoilt,
    _cut,
    _cut,
    _as_dtype,
    _of_objects,
    lambda rng, x: x * 10.0 ** rng.integers(-60, 300) if x.dtype.kind == "f" else x,
]


def _frame(rng):
    x = points(rng)
    frame = pd.DataFrame(x, columns=pick(rng, [["a", "b"], ["a", "a"], [0, 1]]))
    odd = {
        "text": ["x"] * len(x),
        "number as text": ["1"] * len(x),
        "missing": [None] * len(x),
        "when": pd.Timestamp(0),
        "kind": pd.Categorical(["x"] * len(x)),
        "maybe": pd.array([1] * (len(x) - 1) + [pd.NA], dtype="Int64"),
        "lists": [[1, 2]] * len(x),
    }
    if rng.integers(3):
        name = pick(rng, list(odd))
        frame = frame.iloc[:, :1].assign(**{name: odd[name]})
    return frame if rng.integers(4) else frame.iloc[:, 1]


def _masked(rng):
    x = points(rng)
    return np.ma.masked_array(x, mask=rng.random(x.shape) < pick(rng, [0.0, 0.5]))


def _tensor(rng):
    x = points(rng).astype("float32")
    return pick(
        rng,
        [
            lambda: tf.constant(x),
            lambda: tf.constant(x, tf.bfloat16),
            lambda: tf.Variable(x),
            lambda: keras.Variable(x),
            lambda: tf.constant(array_of_numbers(rng)),
            lambda: tf.constant(x.astype(str)),
            lambda: tf.ragged.constant([[1.0, 2.0], [3.0]]),
            lambda: tf.sparse.from_dense(x),
            lambda: keras.Input([2]),
            lambda: tf.TensorSpec([None, 2]),
            lambda: tf.IndexedSlices(x, np.arange(len(x))),
        ],
    )()


def array_of_numbers(rng):
    x = array(rng)
    return x if x.dtype.kind in "fi" and x.dtype.isnative and x.itemsize < 16 else [0.0]


ODD = [
    None,
    True,
    0,
    -1,
    3,
    2.5,
    float("nan"),
    float("inf"),
    10**400,
    1j,
    "x",
    "1.5",
    "",
    b"x",
    "float99",
    Ellipsis,
    NotImplemented,
    slice(3),
    range(2),
    len,
    object,
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    datetime.datetime(2020, 1, 1),
    pathlib.Path("."),
    [],
    (),
    {},
    [[]],
    [None, None],
    [[1.0, 2.0], [3.0]],
    [[1.0, "a"]],
    [["1", "2"]],
    {1, 2},
    {"x": [[1.0, 2.0]]},
    {"x": None},
    {"x": [[1.0, 2.0]], "context": [[1.0]]},
    (1, 0),
    [0, 1],
    [1, 1],
    [0.5, 2.0],
    [-1, 10**9],
    np.float32(1.5),
    np.int64(-3),
    np.zeros([2, 2, 2]),
    np.array("x"),
    np.array(None),
    functools.partial(int, "3"),
]


def anything(rng):
    """Something, seldom the right thing."""
    return pick(
        rng,
        [
            lambda: pick(rng, ODD),
            lambda: array(rng),
            lambda: array(rng).tolist(),
            lambda: _tensor(rng),
            lambda: _frame(rng),
            lambda: _masked(rng),
            lambda: scipy.sparse.csr_matrix(points(rng)),
            lambda: (row for row in points(rng)),
            lambda: [anything(rng) for _ in range(rng.integers(3))],
        ],
    )()


# Bytes

TOKENS = [b"", b"\x00", b"\xff\xfe", b'"', b",", b"\n", b"nan", b"1e999", b"-", b"PK"]


def damaged(rng, content: bytes) -> bytes:
    """Returns the bytes changed in one of the ways that bytes come to harm."""
    n = len(content)
    at, other = sorted(int(i) for i in rng.integers(n + 1, size=2))
    changed = bytearray(content)
    kind = rng.integers(7)
    if kind == 0:
        return content[:at]
    if kind == 1:
        for i in rng.integers(n, size=pick(rng, [1, 1, 2, 50])):
            changed[i] ^= 1 << rng.integers(8)
    elif kind == 2:
        changed[at:at] = rng.bytes(rng.integers(1, 20))
    elif kind == 3:
        changed[at:at] = pick(rng, TOKENS)
    elif kind == 4:
        del changed[at : at + int(rng.integers(1, 100))]
    elif kind == 5:
        changed[at:other] = bytes(other - at)
    else:
        changed[at:at] = content[at:other]
    return bytes(changed)


def repacked(rng, path, target, other):
    """Writes a zip with its members mixed up; `other` is of another flow."""
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(other) as strange:
        members = {name: file.read(name) for name in file.namelist()}
        strangers = {name: strange.read(name) for name in strange.namelist()}
    names = list(members)
    one, two = pick(rng, names), pick(rng, names)
    kind = rng.integers(6)
    method = zipfile.ZIP_STORED
    pairs = list(members.items())
    if kind == 0:
        members[one], members[two] = members[two], members[one]
        pairs = list(members.items())
    elif kind == 1:
        pairs = [(name, content) for name, content in pairs if name != one]
    elif kind == 2:
        pairs += [(one, strangers[one])]
    elif kind == 3:
        pairs = [(name if name != one else f"../{one}", c) for name, c in pairs]
    elif kind == 4:
        method = zipfile.ZIP_DEFLATED
    else:
        pairs = [(n, damaged(rng, c) if n == one else c) for n, c in pairs]
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as file:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in pairs:
            file.writestr(name, content)
