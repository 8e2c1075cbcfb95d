"""Check that a trained model fits a config."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config import classes
from convnext_mm.config.model_file import check_model_file
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, error, note, ok
from convnext_mm.messages.wording import such_as
from convnext_mm.weights.files import locate, read_checkpoint


def check_trained_model(cfg: Config, checkpoint: str) -> Iterator[Finding]:
    """Check that a checkpoint has all tensors of the model, and was trained on its classes."""
    try:
        if not isinstance(locate(checkpoint), Path):
            yield note('checkpoint', f'{checkpoint} is not on this machine', 'testing downloads it')
            return
        content = read_checkpoint(checkpoint)
        check_model_file(content, cfg, checkpoint, complete=True)
    except UserError as failure:
        yield error('checkpoint', str(failure))
        return
    trained = tuple(classes.checkpoint_metainfo(content).get('classes', ()))
    expected = tuple(classes.dataset_metainfo(cfg, 'val_dataloader').get('classes', ()))
    if trained and expected and trained != expected:
        yield error(
            'checkpoint',
            f'{checkpoint} was trained on {such_as(trained, "class")}, but the config has '
            f'{such_as(expected, "class")}',
            f'{command("predict")} uses the classes of the checkpoint; to test it or to train it '
            'further, set these classes in the config',
        )
    else:
        names = such_as(trained or expected, 'class')
        yield ok('checkpoint', f'{checkpoint} fits the config and has {names}')
