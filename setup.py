import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / 'convnext_mm' / '__init__.py').read_text()

setup(
    name='convnext-mm',
    version=re.search("__version__ = '(.+)'", INIT)[1],
    description='ConvNeXt backbones for MMDetection and MMSegmentation',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    author='The convnext-mm authors',
    license='Apache-2.0',
    keywords='convnext object-detection instance-segmentation semantic-segmentation openmmlab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: GPU :: NVIDIA CUDA',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['convnext_mm*']),
    package_data={
        # MMEngine reads the recipes of a package in .mim. In a checkout, .mim/configs is a link.
        'convnext_mm': ['.mim/*.yml', '.mim/configs/*/*.py'],
        'convnext_mm.evaluation.report': ['*.j2', '*.css', '*.js'],
        'convnext_mm.experiments': ['*.j2'],
    },
    entry_points={'console_scripts': ['convnext-mm = convnext_mm.cli.main:main']},
    # No OpenMMLab distribution: a user may have either of the two families, and keeps it.
    # torch 2.6: weights_only by default, with an allow-list (see compat.py).
    # filelock 3.24: a process that waits for a lock notices that its file was removed.
    install_requires=[
        'torch>=2.6',
        'numpy>=1.26',
        'safetensors>=0.4.5',
        'huggingface-hub>=0.30',
        'filelock>=3.24',
        'hotcoco>=1.3,<2',
        'jinja2>=3.1',
        'pillow>=9.1',
        'pycocotools>=2.0.6',
        'pyyaml>=6',
        'rich>=12',
        'msgspec>=0.19',
        'pyyaml',
    ],
    extras_require={
        'openmmlab': [
            'mmengine>=0.10.7,<1',
            # 2.0 compiles as C++14, and PyTorch needs C++17. 2.2 is refused by MMDetection 3.3.
            'mmcv>=2.1,<2.2',
            'mmdet>=3.3,<4',
            'mmsegmentation>=1.2.2,<2',
            # MMSegmentation imports these two and does not declare them.
            'ftfy>=6.2',
            'regex>=2024.4.16',
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
        'test': ['pytest>=8', 'pytest-xdist>=3.6', 'hypothesis>=6.100'],
        'docs': ['sphinx>=9,<10', 'myst-parser>=5', 'myst-nb>=1.3', 'furo'],
    },
)
