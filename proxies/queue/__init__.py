"""The job queue (django-q2), the worker that runs its jobs, and the supervisor that keeps it alive."""
