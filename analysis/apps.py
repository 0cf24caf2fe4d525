from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "analysis"
    verbose_name = "Analysis"

    def ready(self) -> None:
        # The operations register themselves, and the checks and receivers.
        from analysis import checks, operation, receivers  # noqa: F401
