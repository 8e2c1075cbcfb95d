"""The findings of the doctor as JSON, to be pasted into a bug report: ``doctor --json``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import torch

import convnext_mm
from convnext_mm.messages.findings import Finding

# Distributions. Of the two families of OpenMMLab one is installed.
_PACKAGES = (
    *('torch', 'torchvision', 'numpy', 'setuptools', 'opencv-python', 'opencv-python-headless'),
    *('mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain', 'transformers'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation'),
    *('pycocotools', 'hotcoco', 'safetensors', 'huggingface-hub', 'onnx', 'onnxruntime'),
)


def bug_report(sections: Iterable[tuple[str, Iterable[Finding]]]) -> dict:
    """Return versions, platform and findings as plain values.

    It has no variables of the environment and no host name. The home folder of the user is written
    as ``~``, and the user names and queries of addresses are left out.

    Args:
        sections: The name and the findings of each part of the examination.
    """
    return dict(
        convnext_mm=convnext_mm.__version__,
        platform=dict(
            system=platform.platform(),
            python=platform.python_version(),
            processors=os.cpu_count(),
            cuda=torch.version.cuda,
            gpus=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        ),
        packages=dict(_versions()),
        findings=[
            dict(
                section=section,
                level=finding.level.name.lower(),
                where=_without_private(finding.where),
                what=_without_private(finding.text),
                remedy=_without_private(finding.remedy),
                page=finding.page,
            )
            for section, findings in sections
            for finding in findings
        ],
    )


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _without_private(text: str) -> str:
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf'{re.escape(home)}(?![\w.-])', '~', text)
    text = re.sub(r'(\w+://)[^/@\s]+@', r'\1***@', text)
    return re.sub(r'(\w+://[^\s?]+)\?[^\s,;)]+', r'\1?***', text)
