"""Helpers for tests of admin pages: clients with permissions, and the text of a page."""

from __future__ import annotations

import html
import re
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client


def staff_with(*permissions: str) -> Client:
    """Return a client logged in as a new staff user with exactly these permissions."""
    user = get_user_model().objects.create_user("librarian", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    """Return the visible text of a page on one line."""
    text = re.sub(r"<[^>]+>", " ", response.content.decode())
    return html.unescape(re.sub(r"\s+", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def messages_of(response: Any) -> list[str]:
    """Return the messages at the top of the page."""
    return [str(message) for message in response.context["messages"]]
