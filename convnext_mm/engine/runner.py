"""A Runner that does not read a checkpoint a second time."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner as MMEngineRunner
from mmengine.runner.checkpoint import _load_checkpoint_to_model

_ONLY_FOR_RESUMING = ('optimizer', 'param_schedulers')


class Runner(MMEngineRunner):
    """MMEngine's Runner that can load a file that was read and checked before the Runner was built.

    It holds the content until it loads it, without the parts that only resuming needs.
    """

    _content: Mapping | None = None

    def hold(self, content: Mapping) -> None:
        """Use this content instead of reading the file of ``load_from``."""
        self._content = {k: v for k, v in content.items() if k not in _ONLY_FOR_RESUMING}

    def load_checkpoint(self, filename: str, *args, **kwargs) -> Mapping:
        """Load the content that is held; read the file if there is none, as for resuming."""
        content, self._content = self._content, None
        if content is None:
            return super().load_checkpoint(filename, *args, **kwargs)
        self.call_hook('after_load_checkpoint', checkpoint=content)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        _load_checkpoint_to_model(model, content)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return content
