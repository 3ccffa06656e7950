"""Files in, files out: stacks segmented one by one, and taken up where they stopped."""

from napari_hqsam2.batch.job import SegmentJob
from napari_hqsam2.batch.many import JobReport, jobs_for, run_jobs

__all__ = ["JobReport", "SegmentJob", "jobs_for", "run_jobs"]
