"""One analysis is one job, run in a worker process of its own: `submit(JobSpec(…)) -> JobHandle`.

Nothing here imports Keras, except the worker, which is a process apart.
"""

from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.jobs.handles import JobHandle
from app.jobs.processes import Progress
from app.jobs.queue import (
    AlreadyRunningError,
    Workers,
    find,
    has_begun,
    in_use,
    shut_down,
    submit,
    warm_up,
)

__all__ = [
    "AlreadyRunningError",
    "JobHandle",
    "JobSpec",
    "Progress",
    "Settings",
    "Workers",
    "find",
    "has_begun",
    "in_use",
    "shut_down",
    "submit",
    "warm_up",
]
