"""Pack templates and translations with the apps: a checkout keeps them in `templates/` and `locale/`.

Everything else about the package is in pyproject.toml.
"""

from setuptools import find_packages, setup

APPS = ("novaproxy_site", "media_files", "proxies", "analysis")
# Folder in `templates/`, and the app that the wheel puts it into, where APP_DIRS finds it.
TEMPLATES = {
    "admin": "novaproxy_site",
    "media_files": "media_files",
    "proxies": "proxies",
    "analysis": "analysis",
}
FOLDERS = {f"{app}.templates.{name}": f"templates/{name}" for name, app in TEMPLATES.items()}
# Every installation has media_files, so Django finds the translations of all apps there.
TRANSLATIONS = {"media_files.locale": "locale"}

setup(
    packages=[
        *find_packages(include=[*APPS, *(f"{app}.*" for app in APPS)], exclude=["*.tests", "*.tests.*"]),
        *FOLDERS,
        *TRANSLATIONS,
    ],
    package_dir={**FOLDERS, **TRANSLATIONS},
    package_data={
        "": ["*.toml", "static/**/*"],
        **{folder: ["**/*.mo"] for folder in TRANSLATIONS},
        **{folder: ["**/*.html"] for folder in FOLDERS},
    },
)
