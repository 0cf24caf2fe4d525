"""Who looks at the admin's pages in tests, and what of them."""

from __future__ import annotations

import html
import re
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client


def staff_with(*permissions: str) -> Client:
    """A client, logged in as a new member of staff who has these permissions and no others."""
    user = get_user_model().objects.create_user("librarian", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    """What a person reads of a page, in one line."""
    text = re.sub(r"<[^>]+>", " ", response.content.decode())
    return html.unescape(re.sub(r"\s+", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def messages_of(response: Any) -> list[str]:
    """What the page says on top of what happened."""
    return [str(message) for message in response.context["messages"]]
