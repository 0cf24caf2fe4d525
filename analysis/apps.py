from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "analysis"
    verbose_name = "Analysis"

    def ready(self) -> None:
        # Importing them registers the checks, operations and receivers.
        from analysis import checks, operation, receivers  # noqa: F401
