"""Hyperparameter sweeps of `mnistnn` networks: Optuna studies, tracked in MLflow, ended by an ensemble."""
