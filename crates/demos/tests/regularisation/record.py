"""Records what scikit-learn's grid search over C gives on thirteen tables: recorded.csv, which
tests/regularisation.rs compares with `iris --regularisation`. Writes wine.csv and breast_cancer.csv too.

    pip install -r requirements.txt && python record.py

Every fit is made three times. What `newton-cholesky` scores at a gradient of 1e-8 is recorded as "converged";
where `lbfgs`, to as small a gradient, scores otherwise, that is printed. "default" is recorded beside it:
`LogisticRegression(C=C)` as it comes, which is `lbfgs` to a gradient of 1e-4 in at most 100 iterations.
"""

import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
BINARIES = HERE.parent.parent / "src" / "bin"
STRENGTHS = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]


class SplitMix:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def noise(self):
        """The sum of four uniform numbers, with mean 0, in steps of 1/1024."""
        bits = self.next()
        return (sum((bits >> shift) & 1023 for shift in (0, 10, 20, 30)) - 2046) / 1024


def made(seed, sizes, features, apart):
    """Classes of these sizes in random order, each around a centre of its own. Nothing is rounded."""
    random = SplitMix(seed)
    centres = [[apart * random.noise() for _ in range(features)] for _ in sizes]
    left = list(sizes)
    X, y = [], []
    while sum(left):
        draw = random.next() % sum(left)
        label = next(k for k in range(len(left)) if draw < sum(left[: k + 1]))
        left[label] -= 1
        X.append([centre + random.noise() for centre in centres[label]])
        y.append(label)
    return X, y


def large_means():
    """Features whose means are up to 10^13 times their deviations."""
    X, y = made(9, [80, 80, 80], 4, 1.0)
    for row, label in zip(X, y):
        row[0] += 1e9
        row[1] -= 2.0**40
        row[2] = 1e13 + label / 2
    return X, y


def constants():
    """Features that never vary, or hardly: by less than a variance is rounded by."""
    X, y = made(10, [60, 60, 60], 3, 1.0)
    columns = [7.0, 0.1, 0.0, -1e6, 123456.789]
    X = [row + columns + [0.3 if i % 2 else 0.1 + 0.2] for i, row in enumerate(X)]
    return X, y


def read(file, **settings):
    table = np.loadtxt(file, delimiter=",", dtype=str, **settings)
    return table[:, :-1].astype(float), table[:, -1]


def write(name, bunch):
    """A table of scikit-learn's, as a file."""
    header = [feature.replace(" ", "_").replace("/", "_") for feature in bunch.feature_names] + ["class"]
    labels = [str(bunch.target_names[label]) for label in bunch.target]
    lines = [header] + [[repr(float(x)) for x in row] + [label] for row, label in zip(bunch.data, labels)]
    file = HERE / f"{name}.csv"
    file.write_text("".join(",".join(line) + "\n" for line in lines))
    return read(file, skiprows=1)


def tables():
    return {
        "iris": read(BINARIES / "iris" / "iris.csv", skiprows=1),
        "wine": write("wine", load_wine()),
        "breast_cancer": write("breast_cancer", load_breast_cancer()),
        "digits": read(BINARIES / "digits" / "digits.csv"),
        "two": made(7, [100, 100], 5, 1.0),
        "two_unbalanced": made(1, [270, 30], 8, 1.0),
        "three_unbalanced": made(3, [20, 60, 160], 6, 0.5),
        "ten": made(4, [60] * 10, 64, 0.375),
        "ten_unbalanced": made(5, [150, 100, 60, 40, 20, 12, 8, 6, 5, 5], 12, 0.625),
        "large_means": large_means(),
        "constants": constants(),
        "rare_class": made(11, [60, 50, 3, 1], 4, 0.75),
        # In a fold without the third class the binomial loss is left.
        "rare_third": made(12, [40, 30, 1], 3, 0.5),
    }


def scores(X, y, **settings):
    """The accuracy for each C on each fold, and whether a fit has not converged."""
    search = GridSearchCV(LogisticRegression(**settings), {"C": STRENGTHS}, cv=StratifiedKFold(5), error_score="raise")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(StandardScaler().fit_transform(X), y)
    folds = [search.cv_results_[f"split{fold}_test_score"] for fold in range(5)]
    warned = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return np.transpose(folds).tolist(), warned


def record(name, X, y):
    X, y = np.array(X), np.array(y)
    converged, warned = scores(X, y, solver="newton-cholesky", tol=1e-8, max_iter=100)
    of_lbfgs, lbfgs_warned = scores(X, y, tol=1e-8, max_iter=100_000)
    default, default_warned = scores(X, y)
    print(f"{name}: {X.shape}, not converged: {warned} tight, {lbfgs_warned} tight lbfgs, {default_warned} default", flush=True)
    for C, row, other, as_it_comes in zip(STRENGTHS, converged, of_lbfgs, default):
        if row != other:
            print(f"  C = {C}: newton-cholesky {row}, lbfgs {other}")
        if row != as_it_comes:
            print(f"  C = {C}: converged {np.mean(row):.4f}, by default {np.mean(as_it_comes):.4f}")
    total = repr(float(X.sum())) if name in MADE else ""
    rows = zip(STRENGTHS, converged, default)
    return [[name, total, C, *row, *as_it_comes] for C, row, as_it_comes in rows]


MADE = ["two", "two_unbalanced", "three_unbalanced", "ten", "ten_unbalanced", "rare_class", "rare_third"]

if __name__ == "__main__":
    lines = [["table", "sum", "C"] + [f"{how}_{fold}" for how in ("converged", "default") for fold in range(1, 6)]]
    for name, table in tables().items():
        lines += record(name, *table)
    file = HERE / "recorded.csv"
    file.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    print(f"{file}: scikit-learn {sklearn.__version__}")
