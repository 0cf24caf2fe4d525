from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "analysis"
    verbose_name = "Analysis"

    def ready(self) -> None:
        # The operations register themselves, and the checks.
        from analysis import checks, operation  # noqa: F401
