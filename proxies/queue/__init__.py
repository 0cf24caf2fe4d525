"""The job queue (django-q2), the worker that takes jobs from it, and the supervisor that keeps it alive."""
