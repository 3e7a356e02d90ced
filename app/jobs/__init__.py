"""One analysis is one job, run in a worker process of its own: `submit(JobSpec(…)) -> JobHandle`.

Nothing here imports Keras, except the worker, which is a process apart.
"""

from app.jobs.handles import JobHandle, Workers, find, submit, warm_up
from app.jobs.processes import Progress
from app.jobs.specification import JobSpec, Settings

__all__ = [
    "JobHandle",
    "JobSpec",
    "Progress",
    "Settings",
    "Workers",
    "find",
    "submit",
    "warm_up",
]
