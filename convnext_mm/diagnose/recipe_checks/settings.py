"""Check that the settings, classes and arguments that a config names exist."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.config.argument_checks import check_arguments
from convnext_mm.config.key_checks import check_names
from convnext_mm.messages.findings import Finding, ok


def check_settings(cfg: Config) -> Iterator[Finding]:
    """Check all names in a config, as a training does before it builds anything."""
    findings = [*check_names(cfg), *check_arguments(cfg)]
    yield from findings or [ok('settings', 'all classes exist and take the arguments they get')]
