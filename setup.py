import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / 'convnext_mm' / '__init__.py').read_text()

setup(
    name='convnext-mm',
    version=re.search("__version__ = '(.+)'", INIT)[1],
    description='ConvNeXt backbones for MMDetection and MMSegmentation',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['convnext_mm*']),
    package_data={
        # MMEngine reads the recipes of a package in .mim. In a checkout, .mim/configs is a link.
        'convnext_mm': ['.mim/*.yml', '.mim/configs/*/*.py'],
        'convnext_mm.evaluation.report': ['*.j2', '*.css', '*.js'],
    },
    entry_points={'console_scripts': ['convnext-mm = convnext_mm.cli.main:main']},
    # No OpenMMLab distribution: a user may have either of the two families, and keeps it.
    # torch 2.6: weights_only by default, with an allow-list (see compat.py).
    # filelock 3.24: a process that waits for a lock notices that its file was removed.
    install_requires=[
        'torch>=2.6',
        'numpy',
        'safetensors',
        'huggingface-hub>=0.30',
        'filelock>=3.24',
        'hotcoco>=1.3,<2',
        'jinja2',
        'msgspec>=0.19',
    ],
    extras_require={
        'openmmlab': [
            'mmengine>=0.10.7,<1',
            'mmcv>=2.0.1,<2.2',
            'mmdet>=3.3,<4',
            'mmsegmentation>=1.2.2,<2',
            # MMSegmentation imports these two and does not declare them.
            'ftfy',
            'regex',
        ],
        # The maintained packages with the same import names; never together with the ones above.
        'onedl': [
            'onedl-mmengine>=0.10.8,<1',
            'onedl-mmcv>=2.3,<3',
            'onedl-mmdetection>=3.4,<4',
            'onedl-mmsegmentation>=1.3,<2',
        ],
        # tools/export.py
        'export': ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript>=0.5'],
        'test': ['pytest', 'pytest-xdist', 'hypothesis>=6.100'],
        'docs': ['sphinx>=9,<10', 'myst-parser>=5', 'furo'],
    },
)
