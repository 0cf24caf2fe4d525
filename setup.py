"""Pack each app's templates with the app: a checkout keeps them together in `templates/`.

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

setup(
    packages=[
        *find_packages(include=[*APPS, *(f"{app}.*" for app in APPS)], exclude=["*.tests", "*.tests.*"]),
        *FOLDERS,
    ],
    package_dir=FOLDERS,
    package_data={
        "": ["*.toml", "static/**/*", "locale/**/*.mo"],
        **{folder: ["**/*.html"] for folder in FOLDERS},
    },
)
