# `make tutorial` runs this, in a copy of the checkout, and writes tutorial.md. See tools/tutorial.py.
# %% [markdown]
# # From nothing to a submission in fifteen minutes
#
# A clone of this repository, Python ≥ 3.11 and make are all that it takes. Everything below was run as it stands here:
# what stands below a command is what it printed. The study's seed is 20, but with several workers which networks are
# proposed depends on who is done first, so another run finds others.
#
# ## Five minutes of search
#
# The first call makes `.venv` and fetches MNIST; both took place before, here. Then `studies/default.toml` says what is
# searched, and for how long. Four baselines go first, then Optuna proposes. A trial that is worse than most were at its
# epoch is pruned. When the time is up, the best five are averaged, and only then the test images are opened, once.

# %%
# !make sweep

# %% [markdown]
# Each line is a trial: its validation loss and accuracy, by which it is judged, its epochs and time, and its network in
# a few words (`conv 16-32x2 k5-3`: one convolution of 16 filters, two of 32, kernels of 5 and 3). What does not fit the
# time any more waits for a longer budget. Ctrl-C loses nothing: the same command goes on.
#
# In the ensemble's table, compare the columns. The members were chosen for their validation loss, so that one flatters
# them. The test column does not, and what the ensemble gains over its best member stands with an interval: one that
# contains zero has shown nothing yet.
#
# ## Look at it
#
# ```sh
# make ui
# ```
#
# opens MLflow on the study, best trial first, with curves, parameters and artifacts, and
#
# ```sh
# make serve
# ```
#
# a page on which you draw digits for the ensemble. Both serve this machine only, until Ctrl-C. The same in one file, to
# be read on a phone or sent to a colleague, is the report:

# %%
# !make report

# %% [markdown]
# `.venv/bin/sweeps --help` lists what else there is. For one, any trial can be looked at beside another:

# %%
# !.venv/bin/sweeps compare default 1 2

# %% [markdown]
# ## The submission
#
# `make sweep` has written `submission.csv` for MNIST's test images, in Kaggle's format, and a manifest of what it was
# made from: members by the digests of their weights, data, commit, versions. For images of your own,
# `make submission INPUT=test.csv`. Whoever has the study can check that the answers are what it gives:

# %%
# !head -n 4 submission.csv
# !make verify

# %% [markdown]
# The answers are computed again from the weights that the manifest names. That opened the test images a second time,
# and was counted: `mlruns/test_openings.jsonl` has a line for each.
#
# ## In a notebook
#
# Start Jupyter, or any other notebook, with this environment and in this folder (`.venv/bin/pip install jupyterlab`
# brings one). It must be this one, the clone itself: nothing is installed under the name `sweeps`, and from the folder
# above a clone that is called `sweeps` too, Python would find that one and no `Study` in it. A study is one object; it
# reads what the workers left, and trains nothing.

# %%
from sweeps import Study

study = Study("default")
study

# %% [markdown]
# A notebook shows the table of its best trials for that. All trials are a pandas DataFrame:

# %%
study.trials()[["trial", "state", "network", "val_loss", "val_accuracy", "seconds"]].head(8)

# %%
study.best

# %%
study.best.history[["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]].round(4)

# %% The study's history: each trial's validation loss, and the best so far
study.plot_history()

# %% Accuracy against trained parameters and against seconds, with the Pareto fronts
study.plot_cost()

# %% [markdown]
# There are `plot_importances`, `plot_parallel`, `plot_slices`, `plot_epochs` and `plot_workers` too; each returns a
# matplotlib Figure. What is not here, Optuna has: `study.optuna` is its study.
#
# ## Predict
#
# `study.best.network()` is a network with its weights. An ensemble of any size is put together on the spot, from what
# its members predicted for the validation images; the test images are not touched.

# %%
ensemble = study.ensemble(top=3)
accuracy = ensemble.val_accuracy
print(ensemble)
print(f"{accuracy.estimate:.2%} of the validation images, 95 % interval {accuracy.low:.2%} to {accuracy.high:.2%}")

# %% [markdown]
# Without arguments, `study.ensemble()` is the one that `make sweep` built. It takes images as MNIST has them: 28×28,
# light on dark, numbers from 0 to 255. `as_mnist` makes such an image of a photo or a drawing, and
# `read_photo(open("digit.jpg", "rb"), Path("digit.jpg"))` reads one. Here we draw a seven ourselves, dark on white and
# far too large:

# %% A seven of 28×28 pixels, light on dark, in the middle
import numpy as np
from PIL import Image, ImageDraw

from mnistnn.data import as_mnist

paper = Image.new("L", (300, 400), "white")
ImageDraw.Draw(paper).line([(80, 80), (220, 75), (170, 190), (130, 330)], fill="black", width=34, joint="curve")
digit = as_mnist(np.array(paper))
Image.fromarray(digit).resize((140, 140))

# %%
probs = study.ensemble().predict_proba(digit[None])
for each in probs[0].argsort()[::-1][:3]:
    print(f"{each}: {probs[0, each]:.4f}")

# %% [markdown]
# ## The network alone
#
# `mnistnn` needs NumPy and nothing of the above. A preset is a network and a way to train it. `fit` shows a bar, and
# ends with the weights of the best epoch:

# %%
from pathlib import Path

from mnistnn import Network, load_model, preset
from mnistnn.data import find_dataset

train, validation = find_dataset(cache=Path("data")).split(seed=1)
recipe = preset("small")
network = Network(recipe.network, seed=1)
network

# %%
history = network.fit(*train.take(), validation=validation.take(), training=recipe.training, seed=1)
for epoch in history:
    print(f"epoch {epoch.epoch}: loss {epoch.train_loss:.4f}, validation accuracy {epoch.val_accuracy:.2%}")

# %%
network.save("small.npz")
again = load_model("small.npz")
again.predict(digit[None]), again.predict_proba(digit[None]).max()

# %% [markdown]
# `pandas.DataFrame(history)` is a table of it, and `print(network.summary())` one of its layers.
#
# ## From here
#
# - `make sweep BUDGET=30m` goes on with the same study; `make sweep STUDY=contest` is two hours of a wider one.
# - [Add your own layer, search over it, and see it in the UI](tutorial_layer.md).
# - The README says what a study survives, and [cluster.md](cluster.md) how it goes past one machine.
