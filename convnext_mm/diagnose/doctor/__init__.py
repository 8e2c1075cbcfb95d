"""Check an installation and a config: the implementation of ``tools/doctor.py``.

Every check yields findings. A check that fails does not stop the others.
"""

from convnext_mm.diagnose.doctor.bug_report import bug_report
from convnext_mm.diagnose.doctor.examination import examine, examined

__all__ = ['bug_report', 'examine', 'examined']
