"""Makes the values that the tests hold the network to, with PyTorch in float64. Only this script needs PyTorch.

    python tests/data/make_reference.py

writes `tests/data/reference/{layers,losses,optimizers,schedules,conv2,averaged,strided,residual}.npz`. Arrays are in
this project's layout: maps (B, H, W, C), convolution weights (k, k, C, filters), dense weights (inputs, units).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

FOLDER = Path(__file__).parent / "reference"
STEPS = 10
BATCH = 8


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    write("layers", layers())
    write("losses", losses())
    write("optimizers", optimizers())
    write("schedules", schedules())
    write("conv2", conv2())
    write("averaged", averaged())
    write("strided", strided())
    write("residual", residual())


def write(name: str, arrays: dict[str, Any]) -> None:
    """Writes an .npz whose bytes depend on the arrays alone."""
    path = FOLDER / f"{name}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            buffer = io.BytesIO()
            np.save(buffer, np.array(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1000:.0f} kB")


def to_maps(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def from_maps(x: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) → (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def our_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(filters, C, k, k) → (k, k, C, filters)."""
    return weight.permute(2, 3, 1, 0)


def our_params(module: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
    """A module's params and their gradients, under our names and in our layout."""
    layout: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {4: our_kernel, 2: lambda w: w.T, 1: lambda w: w}
    norm = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    names = {"weight": "gamma", "bias": "beta"} if norm else {"weight": "weight", "bias": "bias"}
    found = {}
    for name, parameter in module.named_parameters():
        turn = layout[parameter.ndim]
        found[names[name]] = turn(parameter.detach()), None if parameter.grad is None else turn(parameter.grad)
    return found


def layers() -> dict[str, Any]:
    """Each layer's output and gradients, for one drawn input and one drawn output gradient."""
    cases: dict[str, tuple[nn.Module, torch.Tensor]] = {
        "conv2d_same3": (nn.Conv2d(4, 5, 3, padding=1), torch.randn(3, 7, 9, 4)),
        "conv2d_same5": (nn.Conv2d(1, 5, 5, padding=2), torch.randn(3, 7, 9, 1)),
        "conv2d_valid3": (nn.Conv2d(3, 5, 3), torch.randn(3, 7, 9, 3)),
        "conv2d_valid5": (nn.Conv2d(6, 5, 5), torch.randn(3, 7, 9, 6)),
        "dense": (nn.Linear(11, 6), torch.randn(5, 11)),
        "batch_norm_flat": (nn.BatchNorm1d(6), 3 * torch.randn(7, 6) + 2),
        "batch_norm_map": (nn.BatchNorm2d(4), 3 * torch.randn(3, 5, 6, 4) + 2),
        # Whole numbers, so that many squares have several maxima: the first of them must get the gradient.
        "max_pool2d_2": (nn.MaxPool2d(2), torch.randint(0, 3, (3, 7, 8, 4)).double()),
        "max_pool2d_3": (nn.MaxPool2d(3), torch.randint(0, 3, (3, 7, 8, 4)).double()),
        "relu": (nn.ReLU(), torch.randn(5, 11)),
        "sigmoid": (nn.Sigmoid(), 10 * torch.randn(5, 11)),
    }
    return judged(cases)


def strided() -> dict[str, Any]:
    """The same of what leaves out rows and columns, and of the mean of whole maps."""
    return judged(
        {
            "conv2d_same3_stride2": (nn.Conv2d(4, 5, 3, stride=2, padding=1), torch.randn(3, 7, 8, 4)),
            "conv2d_same5_stride2": (nn.Conv2d(2, 5, 5, stride=2, padding=2), torch.randn(3, 8, 9, 2)),
            "conv2d_valid3_stride2": (nn.Conv2d(3, 5, 3, stride=2), torch.randn(3, 7, 10, 3)),
            "conv2d_valid5_stride3": (nn.Conv2d(6, 5, 5, stride=3), torch.randn(3, 9, 12, 6)),
            "global_avg_pool2d": (Means(), torch.randn(3, 5, 6, 4)),
        }
    )


class Means(nn.Module):
    """Each channel's mean, as (B, C, 1, 1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 1)


def judged(cases: dict[str, tuple[nn.Module, torch.Tensor]]) -> dict[str, Any]:
    """Each case's output and gradients, for its input and a drawn output gradient."""
    arrays: dict[str, Any] = {}
    for case, (module, given) in cases.items():
        for parameter in module.parameters():
            parameter.data = torch.randn_like(parameter)
        into, out_of = (from_maps, to_maps) if given.ndim == 4 else (torch.Tensor.contiguous,) * 2
        x = given.clone().requires_grad_()
        y = out_of(module(into(x)))
        dy = torch.randn_like(y)
        torch.autograd.backward(y, dy)
        arrays |= {f"{case}.x": x, f"{case}.y": y, f"{case}.dy": dy, f"{case}.dx": x.grad}
        for name, (value, grad) in our_params(module).items():
            arrays |= {f"{case}.{name}": value, f"{case}.d{name}": grad}
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            arrays |= {f"{case}.running_mean": module.running_mean, f"{case}.running_var": module.running_var}
            arrays[f"{case}.y_eval"] = out_of(module.eval()(into(x)))
    return arrays


def losses() -> dict[str, Any]:
    """Softmax cross-entropy and its gradient, plain and smoothed."""
    logits, labels = 5 * torch.randn(9, 10), torch.randint(0, 10, (9,))
    arrays: dict[str, Any] = {"logits": logits, "labels": labels, "probs": torch.softmax(logits, 1)}
    for smoothing in (0.0, 0.1):
        x = logits.clone().requires_grad_()
        loss = nn.functional.cross_entropy(x, labels, label_smoothing=smoothing)
        torch.autograd.backward(loss)
        arrays |= {f"loss_{smoothing}": loss, f"dlogits_{smoothing}": x.grad}
    return arrays


def optimizers() -> dict[str, Any]:
    """Ten steps of each optimizer over 24 weights and 8 biases; decay, where there is any, on the weights alone."""
    start, grads = torch.randn(32), torch.randn(STEPS, 32) * torch.logspace(-3, 1, 32)
    arrays: dict[str, Any] = {"start": start, "grads": grads, "n_decay": 24}
    optim = torch.optim
    makers: dict[str, Callable[..., optim.Optimizer]] = {
        "sgd": lambda groups: optim.SGD(groups, lr=0.03),
        "momentum": lambda groups: optim.SGD(groups, lr=0.03, momentum=0.8),
        "nesterov": lambda groups: optim.SGD(groups, lr=0.03, momentum=0.8, nesterov=True),
        "adagrad": lambda groups: optim.Adagrad(groups, lr=0.03),
        "rmsprop": lambda groups: optim.RMSprop(groups, lr=0.03),
        "adadelta": lambda groups: optim.Adadelta(groups, lr=0.03),
        "adam": lambda groups: optim.Adam(groups, lr=0.03, betas=(0.8, 0.99), eps=1e-3),
        "adamw": lambda groups: optim.AdamW(groups, lr=0.03),
    }
    for name, make in makers.items():
        for decay in (0.0, 0.1):
            weights, biases = nn.Parameter(start[:24].clone()), nn.Parameter(start[24:].clone())
            groups = [{"params": [weights], "weight_decay": decay}, {"params": [biases], "weight_decay": 0.0}]
            optimizer = make(groups)
            path = []
            for grad in grads:
                weights.grad, biases.grad = grad[:24].clone(), grad[24:].clone()
                optimizer.step()
                path.append(torch.cat([weights, biases]).detach().clone())
            arrays[f"{name}_{decay}"] = torch.stack(path)
    return arrays


def schedules() -> dict[str, Any]:
    """The learning rates of PyTorch's schedulers, as parts of the one given."""

    def rates(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> NDArray[np.float64]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = make(optimizer)
        found = [float(optimizer.param_groups[0]["lr"])]
        for _ in range(steps - 1):
            optimizer.step()
            scheduler.step()
            found.append(float(optimizer.param_groups[0]["lr"]))
        return np.array(found)

    lr = torch.optim.lr_scheduler
    return {
        "cosine": rates(lambda optimizer: lr.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.1), 40),
        "cosine_cycles": rates(lambda optimizer: lr.CosineAnnealingWarmRestarts(optimizer, T_0=10, eta_min=0.1), 40),
        "cosine_warmup": rates(
            lambda optimizer: lr.SequentialLR(
                optimizer,
                [
                    lr.LinearLR(optimizer, start_factor=1 / 8, total_iters=7),
                    lr.CosineAnnealingLR(optimizer, T_max=32, eta_min=0.1),
                ],
                milestones=[8],
            ),
            40,
        ),
        "step": rates(lambda optimizer: lr.StepLR(optimizer, step_size=10, gamma=0.3), 30),
        "one_cycle_10": rates(lambda optimizer: lr.OneCycleLR(optimizer, 1.0, total_steps=10), 10),
        "one_cycle_37": rates(lambda optimizer: lr.OneCycleLR(optimizer, 1.0, total_steps=37), 37),
    }


class Net(nn.Module):
    """A net whose layers are called as ours are."""

    def ours(self) -> dict[str, torch.Tensor]:
        """Its params, under our names and in our layout; to write in."""
        return {
            f"{layer}/{name}": value
            for layer, module in self.named_children()
            for name, (value, _) in our_params(module).items()
        }


class Conv2(Net):
    """The preset `conv2` without its dropout, flattened in our order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.batch_norm_1 = nn.BatchNorm2d(32)
        self.conv2d_2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.batch_norm_2 = nn.BatchNorm2d(64)
        self.dense_1 = nn.Linear(7 * 7 * 64, 128, bias=False)
        self.batch_norm_3 = nn.BatchNorm1d(128)
        self.dense_2 = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images[:, None] / 255
        for conv, norm in ((self.conv2d_1, self.batch_norm_1), (self.conv2d_2, self.batch_norm_2)):
            x = nn.functional.max_pool2d(torch.relu(norm(conv(x))), 2)
        x = torch.relu(self.batch_norm_3(self.dense_1(to_maps(x).flatten(1))))
        return self.dense_2(x)  # type: ignore[no-any-return]


class Residual(Net):
    """Two residual blocks: of three convolutions and a pool, and of two, the last of them strided.

    Args:
        valid: whether windows must lie within the map; what is added is then the middle of a larger one.
        norm: whether each convolution is normalised; it has a bias else.
    """

    def __init__(self, *, valid: bool, norm: bool) -> None:
        super().__init__()
        self.valid = valid
        for number, (channels, filters, stride) in enumerate(
            [(1, 4, 1), (4, 4, 1), (4, 4, 1), (4, 6, 1), (6, 6, 2)], start=1
        ):
            conv = nn.Conv2d(channels, filters, 3, stride=stride, padding=int(not valid), bias=not norm)
            self.add_module(f"conv2d_{number}", conv)
            if norm:
                self.add_module(f"batch_norm_{number}", nn.BatchNorm2d(filters))
        self.dense_1 = nn.Linear((4 * 4 if valid else 7 * 7) * 6, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        modules = dict(self.named_children())

        def step(number: int, x: torch.Tensor) -> torch.Tensor:
            x = modules[f"conv2d_{number}"](x)
            if (norm := f"batch_norm_{number}") in modules:
                x = modules[norm](x)
            return x

        first = torch.relu(step(1, images[:, None] / 255))
        middle = first[:, :, 2:-2, 2:-2] if self.valid else first
        x = torch.relu(step(3, torch.relu(step(2, first))) + middle)
        first = torch.relu(step(4, nn.functional.max_pool2d(x, 2)))
        middle = first[:, :, 1:-1:2, 1:-1:2] if self.valid else first[:, :, ::2, ::2]
        x = torch.relu(step(5, first) + middle)
        logits: torch.Tensor = self.dense_1(to_maps(x).flatten(1))
        return logits


def ten_steps(net: Net, after: Callable[[Net], object]) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes ten training steps by Adam on drawn pictures, from drawn weights; returns the pictures and the losses.

    `RandomState`'s streams are frozen by NumPy's promise: the test that reads this (test_against_torch.py) draws the
    same weights and pictures again, so that they need not be stored.

    Args:
        net: what learns.
        after: called with it before the first step, and after each.
    """
    draws = np.random.RandomState(4)
    for weight in net.ours().values():
        fan_in = max(1, weight[..., 0].numel())
        weight[...] = torch.from_numpy(draws.standard_normal(tuple(weight.shape)) / fan_in**0.5)
    images = np.zeros((STEPS, BATCH, 28, 28))  # drawn inside, blank around: blank squares have four maxima
    images[:, :, 6:22, 8:20] = draws.randint(0, 256, (STEPS, BATCH, 16, 12))
    labels = torch.from_numpy(draws.randint(0, 10, (STEPS, BATCH)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    found = []
    after(net)
    for step in range(STEPS):
        loss = nn.functional.cross_entropy(net(torch.from_numpy(images[step])), labels[step], label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        found.append(loss.detach())
        after(net)
    return torch.from_numpy(images), torch.stack(found)


def what_it_learnt(net: Net, images: torch.Tensor) -> dict[str, Any]:
    """Some of each of the net's params, its norms' statistics, and its answer to a batch."""
    arrays: dict[str, Any] = {}
    for name, weight in net.ours().items():
        arrays[name] = weight.detach().reshape(-1)[:: max(1, weight.numel() // 200)]
    for layer, module in net.named_children():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for name in ("running_mean", "running_var"):
                arrays[f"{layer}/{name}"] = getattr(module, name)
    arrays["logits"] = net.eval()(images[0])
    return arrays


def conv2() -> dict[str, Any]:
    """What ten steps come to."""
    net = Conv2()
    images, losses = ten_steps(net, lambda net: None)
    return {"losses": losses, **what_it_learnt(net, images)}


def residual() -> dict[str, Any]:
    """The same of residual blocks."""
    arrays: dict[str, Any] = {}
    for case, net in (
        ("same", Residual(valid=False, norm=True)),
        ("valid", Residual(valid=True, norm=True)),
        ("bare", Residual(valid=False, norm=False)),
    ):
        images, losses = ten_steps(net, lambda net: None)
        learnt = {"losses": losses, **what_it_learnt(net, images)}
        arrays |= {f"{case}.{name}": value for name, value in learnt.items()}
    return arrays


def averaged() -> dict[str, Any]:
    """The same of the weights' moving average, its norms' statistics estimated afresh from the ten batches."""
    models: list[torch.optim.swa_utils.AveragedModel] = []

    def average(mean: torch.Tensor, new: torch.Tensor, count: Any) -> torch.Tensor:
        decay = min(0.5, (1 + int(count)) / (10 + int(count)))
        return decay * mean + (1 - decay) * new

    def take_in(net: Net) -> None:
        if not models:
            models.append(torch.optim.swa_utils.AveragedModel(net, avg_fn=average))
        models[0].update_parameters(net)

    images, _ = ten_steps(Conv2(), take_in)
    torch.optim.swa_utils.update_bn(images, models[0])
    return what_it_learnt(models[0].module, images)


if __name__ == "__main__":
    main()
