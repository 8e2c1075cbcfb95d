"""A trained model as one ONNX file: what ``tools/export.py`` does.

::

    model -> graphs, detector: a module of plain tensors -> run: ONNX, facts -> check: as torch's?

:mod:`convnext_mm.export.operators` has the operators that ONNX knows and PyTorch does not.
"""
