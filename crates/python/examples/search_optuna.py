"""The learning rate, momentum and power of PowerStep, chosen by Optuna's search.

Needs torch, scikit-learn, optuna and rootstep:

    python search_optuna.py            # under a minute on two cores
    python search_optuna.py --quick    # some seconds
"""

from __future__ import annotations

import argparse

import optuna
import torch
from digits import accuracy, data, network
from torch import nn

from rootstep.torch import PowerStep


def train(trial: optuna.trial.BaseTrial, epochs: int) -> nn.Module:
    """Trains with what the trial suggests, and reports the accuracy after each epoch to it."""
    torch.manual_seed(0)
    (images, digits), validation, _ = data()
    model = network()
    optimizer = PowerStep(
        model.parameters(),
        lr=trial.suggest_float("lr", 1e-4, 1.0, log=True),
        momentum=trial.suggest_float("momentum", 0.0, 0.99),
        power=trial.suggest_categorical("power", [0.25, 0.5, 0.75, 1.0]),
    )
    for epoch in range(epochs):
        for chosen in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), digits[chosen]).backward()
            optimizer.step()
        trial.report(accuracy(model, *validation), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a test of some seconds")
    trials, epochs = (6, 2) if parser.parse_args().quick else (50, 8)

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _, validation, test = data()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    study.optimize(lambda trial: accuracy(train(trial, epochs), *validation), n_trials=trials)

    best = study.best_trial
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print("best:", ", ".join(f"{k} = {v:.2g}" for k, v in best.params.items()))
    print(f"trials: {len(study.trials)}, of which {pruned} were given up early")
    print(f"accuracy on validation data: {best.value:.1f} %")
    model = train(optuna.trial.FixedTrial(best.params), epochs)
    print(f"accuracy on test data: {accuracy(model, *test):.1f} %")


if __name__ == "__main__":
    main()
