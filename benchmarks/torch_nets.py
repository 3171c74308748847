"""The same network in PyTorch, as its documentation would have it written: the rival in benchmarks and nowhere else.

NetworkSpec → nn.Sequential that takes (B, 1, 28, 28) pixels already scaled by `torch_images`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.dropout import DropoutSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers import OptimizerSpec
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.adamw import AdamW


def torch_network(spec: NetworkSpec) -> nn.Sequential:
    """Returns the layers of `spec` in PyTorch, with its own first weights; NCHW until moved to channels_last."""
    modules: list[nn.Module] = []
    shape: tuple[int, ...] = (1, 28, 28)
    for layer in spec.layers:
        match layer:
            case InputSpec(shape=wanted):
                if len(wanted) == 1:
                    modules.append(nn.Flatten())
                    shape = (math.prod(shape),)
            case Conv2DSpec():
                pad = layer.kernel // 2 if layer.padding == "same" else 0
                modules.append(nn.Conv2d(shape[0], layer.filters, layer.kernel, padding=pad, bias=layer.bias))
                side = shape[1] + 2 * pad - layer.kernel + 1
                shape = (layer.filters, side, side)
            case BatchNormSpec():
                norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
                modules.append(norm(shape[0], eps=layer.eps, momentum=layer.momentum))
            case ReLUSpec():
                modules.append(nn.ReLU())
            case SigmoidSpec():
                modules.append(nn.Sigmoid())
            case MaxPool2DSpec():
                modules.append(nn.MaxPool2d(layer.size))
                shape = (shape[0], shape[1] // layer.size, shape[2] // layer.size)
            case FlattenSpec():
                modules.append(nn.Flatten())
                shape = (math.prod(shape),)
            case DropoutSpec():
                modules.append(nn.Dropout(layer.rate))
            case DenseSpec():
                modules.append(nn.Linear(shape[0], layer.units, bias=layer.bias))
                shape = (layer.units,)
            case _:
                raise ValueError(f"no counterpart in PyTorch is written down for {layer!r}.")
    return nn.Sequential(*modules)


def torch_optimizer(spec: OptimizerSpec, twin: nn.Module) -> torch.optim.Optimizer:
    """Returns the same optimizer in PyTorch, in its fused kernel; weights decay, biases and norms do not."""
    params = list(twin.parameters())
    groups = [
        {"params": [param for param in params if param.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [param for param in params if param.ndim == 1], "weight_decay": 0.0},
    ]
    match spec:
        case AdamW():
            kind = torch.optim.AdamW
        case Adam():
            kind = torch.optim.Adam
        case _:
            raise ValueError(f"no counterpart in PyTorch is written down for {spec!r}.")
    return kind(groups, lr=spec.learning_rate, betas=(spec.beta1, spec.beta2), eps=spec.eps, fused=True)


def torch_images(
    spec: NetworkSpec, images: np.ndarray, *, channels_last: bool = False, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Returns images scaled as the net's input layer has it. Shape: (B, 28, 28) → (B, 1, 28, 28)."""
    first = spec.layers[0]
    assert isinstance(first, InputSpec)
    scale, offset = {"unit": (255.0, 0.0), "standard": (first.std, first.mean), "none": (1.0, 0.0)}[first.scaling]
    pixels = torch.tensor(images, dtype=dtype).sub_(offset).div_(scale)[:, None]
    return pixels.to(memory_format=torch.channels_last) if channels_last else pixels


def copy_params(network: Network, twin: nn.Sequential) -> None:
    """Gives the PyTorch twin this network's params and running statistics."""
    values = {name: param.value for name, param in network.arena.named().items()}
    modules = iter(m for m in twin if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d))
    with torch.no_grad():
        for name, map_shape in weight_maps(network).items():
            own = {key.removeprefix(f"{name}/"): value for key, value in values.items() if key.startswith(f"{name}/")}
            module: Any = next(modules)
            if "gamma" in own:
                own = {{"gamma": "weight", "beta": "bias"}.get(key, key): value for key, value in own.items()}
            else:
                own["weight"] = turn_weight(own["weight"], map_shape)
            for key, value in own.items():
                getattr(module, key).copy_(torch.from_numpy(value))


def weight_maps(network: Network) -> dict[str, tuple[int, ...]]:
    """Returns each layer that has params, with the shape of the map that its input was flattened from, if it was."""
    found: dict[str, tuple[int, ...]] = {}
    map_shape: tuple[int, ...] = ()
    for name, layer in network.layers.items():
        if layer.params:
            found[name] = map_shape if len(layer.in_shape) == 1 else ()
        if len(layer.in_shape) == 3 and len(layer.out_shape) == 1:
            map_shape = layer.in_shape  # a flatten
        elif layer.params:
            map_shape = ()
    return found


def turn_weight(weight: np.ndarray, map_shape: tuple[int, ...] = ()) -> np.ndarray:
    """Returns a weight, or its gradient, in PyTorch's order: (O, C, k, k), or (O, I) with I in the order C, H, W."""
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    if map_shape:
        height, width, channels = map_shape
        weight = weight.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(len(weight), -1)
    return np.ascontiguousarray(weight.T)
