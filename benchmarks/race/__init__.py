"""The race: this network and the same one in PyTorch learn MNIST side by side, one thread each.

`make race` runs it; `python -m benchmarks.race --help` lists the rest.
"""
