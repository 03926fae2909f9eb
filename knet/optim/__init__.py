"""Optimizers on Optax's protocol: ``init(params)``, ``update(grads, state, params) -> (updates, state)``.

    optimizer = optim.adam(1e-3)
    state = optimizer.init(params)
    updates, state = optimizer.update(grads, state, params)
    params = optim.apply_updates(params, updates)

base.py has the protocol, transforms.py the parts, optimizers.py the optimizers, schedules.py the learning rates.
"""

from .base import EmptyState, GradientTransformation, apply_updates, chain, identity
from .optimizers import (
    AdadeltaState,
    AdagradState,
    AdamState,
    RmspropState,
    SgdState,
    adadelta,
    adagrad,
    adam,
    adamw,
    rmsprop,
    sgd,
)
from .schedules import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    join_schedules,
    linear_schedule,
    piecewise_constant_schedule,
    warmup_cosine_decay_schedule,
)
from .transforms import (
    ScaleState,
    TraceState,
    add_decayed_weights,
    clip,
    clip_by_global_norm,
    clip_by_norm,
    global_norm,
    scale,
    scale_by_learning_rate,
    trace,
)

__all__ = [
    "AdadeltaState",
    "AdagradState",
    "AdamState",
    "EmptyState",
    "GradientTransformation",
    "RmspropState",
    "ScaleState",
    "SgdState",
    "TraceState",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "clip_by_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "global_norm",
    "identity",
    "join_schedules",
    "linear_schedule",
    "piecewise_constant_schedule",
    "rmsprop",
    "scale",
    "scale_by_learning_rate",
    "sgd",
    "trace",
    "warmup_cosine_decay_schedule",
]
