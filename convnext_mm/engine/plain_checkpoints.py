"""Keep objects out of checkpoints, so that ``torch.load`` reads them in every process.

MMEngine saves its log history as objects and the best metric as a number of NumPy. Since 2.6,
PyTorch refuses both unless they were allowed before, and MMDetection and MMSegmentation read a
checkpoint before anything imports this package.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mmengine.logging import HistoryBuffer
from torch import from_numpy

HISTORY = 'log_history'


def pack(checkpoint: dict) -> None:
    """Replace the log history in a checkpoint by tensors, and NumPy's values by Python's."""
    hub = checkpoint['message_hub']
    histories = hub['log_scalars']
    checkpoint[HISTORY] = {
        name: (*map(from_numpy, history.data), history.max_length)
        for name, history in histories.items()
    }
    checkpoint['message_hub'] = dict(
        log_scalars={},
        runtime_info=_plain(hub['runtime_info']),
        resumed_keys={k: v for k, v in hub['resumed_keys'].items() if k not in histories},
    )
    checkpoint['meta'] = _plain(checkpoint['meta'])


def unpack(checkpoint: dict) -> None:
    """Give a checkpoint its log history back. A checkpoint of MMEngine's Runner has it already."""
    for name, (values, counts, max_length) in checkpoint.pop(HISTORY, {}).items():
        history = HistoryBuffer(values.numpy(), counts.numpy(), max_length)
        checkpoint['message_hub']['log_scalars'][name] = history
        checkpoint['message_hub']['resumed_keys'][name] = True


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
