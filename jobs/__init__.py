"""What people run: each module is a job, ``python -m jobs.NAME``."""

import sys

from .interruption import end_at_once

if sys.argv[:1] == ["-m"]:  # python -m jobs.NAME is about to import the job
    end_at_once()
