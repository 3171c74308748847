"""What a layer is built with when it stands alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistnn.arena import Arena
from mnistnn.layer import BuildContext, Shortcut


def lone_context(arena: Arena, max_batch: int, in_shape: tuple[int, ...], **more: Any) -> BuildContext:
    """Returns a context with a shortcut for whoever wants one: large enough for any stride, the same for each image."""
    context = BuildContext(arena, max_batch, **more)
    if len(in_shape) == 3:
        shortcut = Shortcut((4 * in_shape[0], 4 * in_shape[1], in_shape[2]))
        shortcut.x = np.random.default_rng(0).standard_normal((1, *shortcut.shape)).astype(arena.dtype)
        context.shortcuts.append(shortcut)
    return context
