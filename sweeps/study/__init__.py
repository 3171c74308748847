"""Optuna studies: the space, the samplers, one trial, and what is left of it after a crash."""
