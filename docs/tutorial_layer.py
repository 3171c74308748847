# `make tutorial` runs this, in a copy of the checkout, and writes tutorial_layer.md. See tools/tutorial.py.
# %% [markdown]
# # Add your own layer, search over it, and see it in the UI
#
# A layer is one new file, found by being there. We add an activation that `mnistnn` does not have, Swish, let the tests
# that run over everything registered try it, search over it beside ReLU and the sigmoid, and look at what came of it.
# Everything below was run as it stands here.
#
# ## The layer
#
# The Spec is what a network's description holds: it says what is legal, and so what may be searched. The layer has the
# buffers, taken once for the largest batch. `role="activation"` lets it fill that slot of an architecture.
#
# {{ docs/tutorial/swish.py }}

# %%
# !cp docs/tutorial/swish.py mnistnn/layers/swish.py

# %% [markdown]
# ## Tested unasked
#
# Gradients against central differences, float32 against float64, short batches, memory of a warm step, the same bytes
# from the same seed, the way through TOML: the contract tests take it up by itself.

# %%
# !make test ARGS='tests/mnistnn/contract -k swish -q' | tail -n 1

# %% [markdown]
# Break its gradient (leave out `slope += sigmoid`) and run that again: it must fail.
#
# ## Search over it
#
# A study is a file. This one holds a small network fixed, and searches the activation alone, and how sharp Swish's knee
# is. A field of a layer is searched where the layer has a table of its own.
#
# {{ docs/tutorial/activation.toml }}

# %%
# !cp docs/tutorial/activation.toml studies/activation.toml
# !.venv/bin/sweeps run activation

# %% [markdown]
# A name that is not registered, or a value that the Spec does not allow, would have been refused here, in one line.
#
# ## See it
#
# ```sh
# make ui
# ```
#
# The study is an experiment of its own, and `activation` and `sharpness` are columns of its table like any other
# parameter, in the parallel coordinates too. Or in a notebook:

# %%
from sweeps import Study

study = Study("activation")
frame = study.trials()
frame[["trial", "activation", "swish.sharpness", "val_loss", "val_accuracy", "seconds"]]

# %% Validation loss against each parameter by itself
study.plot_slices()

# %%
frame.groupby("activation")[["val_loss", "val_accuracy", "epoch_s"]].agg(["mean", "min", "max"]).round(4).T

# %% [markdown]
# ## Whether to believe it
#
# Twelve trials of one seed each are a hint. Trials of the same activation differ too, by their seeds alone; only a
# difference that is larger than that means something. `sweeps repeat` trains the best again with other seeds, and says
# which of them really differ:

# %%
# !.venv/bin/sweeps repeat activation --top 2 --seeds 3

# %% [markdown]
# Three seeds are few, so the intervals are wide; `--seeds 10` costs minutes and says more.
#
# The layer has no fused fast path as ReLU has, so it is slower than it could be; `mnistnn/fusion/` is where that would
# go. An optimizer is added the same way in `mnistnn/optimizers/`, an augmentation in `mnistnn/augment/`.
