"""Who may do what through the REST API: said by each view, action by action."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class ActionPermissions(BasePermission):
    """The permission that the view's ``action_permissions`` names for the action at hand.

    DRF's own model permissions let everybody GET, and ask for *add* on every POST. An action that
    the view does not name is refused.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if request.method == "OPTIONS" or view.action is None:
            return True  # a method that is not there is answered with 405
        permission = view.action_permissions.get(view.action)
        return bool(permission) and request.user.has_perm(permission)
