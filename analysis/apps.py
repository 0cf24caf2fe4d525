from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AnalysisConfig(AppConfig):
    name = "analysis"
    verbose_name = _("Analysis")

    def ready(self) -> None:
        # Importing them registers the checks, operations and receivers.
        from analysis import checks, operation, receivers  # noqa: F401
