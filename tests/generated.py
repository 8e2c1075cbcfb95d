"""Generated test cases that are the same in every run."""

from hypothesis import HealthCheck, settings

REPEATABLE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
