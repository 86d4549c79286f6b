"""The learning rate and the power of PowerStep, chosen by scikit-learn's search.

Needs torch, scikit-learn, scipy and rootstep:

    python search_sklearn.py            # under a minute on two cores
    python search_sklearn.py --quick    # some seconds
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from torch import nn

from rootstep.torch import PowerStep


class NeuralClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network with one hidden layer, as an estimator: what is searched for are its arguments."""

    def __init__(
        self,
        lr: float = 0.01,
        power: float = 0.5,
        momentum: float = 0.9,
        epochs: int = 10,
        seed: int = 0,
    ) -> None:
        self.lr = lr
        self.power = power
        self.momentum = momentum
        self.epochs = epochs
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> NeuralClassifier:
        """Trains on rows `x` and their classes `y`."""
        torch.manual_seed(self.seed)
        self.classes_, classes = np.unique(y, return_inverse=True)
        inputs, targets = torch.from_numpy(x), torch.from_numpy(classes)
        self.network_ = nn.Sequential(
            nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, len(self.classes_))
        )
        optimizer = PowerStep(
            self.network_.parameters(), lr=self.lr, momentum=self.momentum, power=self.power
        )
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(inputs)).split(32):
                optimizer.zero_grad()
                scores = self.network_(inputs[chosen])
                nn.functional.cross_entropy(scores, targets[chosen]).backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """The most likely class of each row."""
        likeliest = self.network_(torch.from_numpy(x)).argmax(1).numpy()
        predicted: NDArray[np.int64] = self.classes_[likeliest]
        return predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a test of some seconds")
    quick = parser.parse_args().quick

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        (x / 16).astype(np.float32), y, test_size=0.2, random_state=0, stratify=y
    )
    search = RandomizedSearchCV(
        NeuralClassifier(epochs=3 if quick else 10),
        {"lr": loguniform(1e-4, 1), "power": [0.25, 0.5, 0.75, 1.0]},
        n_iter=4 if quick else 24,
        cv=3 if quick else 5,
        random_state=0,
    )
    search.fit(x_train, y_train)
    print(f"best: lr = {search.best_params_['lr']:.2g}, power = {search.best_params_['power']}")
    print(f"accuracy in cross-validation: {search.best_score_:.3f}")
    print(f"accuracy on test data: {search.score(x_test, y_test):.3f}")


if __name__ == "__main__":
    main()
