"""Export a trained model as one ONNX file. Needs the packages of ``convnext-mm[export]``.

::

    model -> wrappers, two_stage: a module of plain tensors -> onnx_file: ONNX with metadata
          -> onnx_check: compare ONNX Runtime with PyTorch

:mod:`convnext_mm.export.operators` defines operators that ONNX has and PyTorch's exporter lacks.
"""

from convnext_mm.export.onnx_file import ExportResult, export

__all__ = ['ExportResult', 'export']
