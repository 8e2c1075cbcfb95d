"""Train and test with MMEngine's Runner; hooks; a quiet terminal."""

from convnext_mm.engine.testing import test
from convnext_mm.engine.training import Training, train

__all__ = ['Training', 'test', 'train']
