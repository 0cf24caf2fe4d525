"""REST API permissions, declared by each view for each action."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class ActionPermissions(BasePermission):
    """Require the permission that the view's ``action_permissions`` lists for the current action.

    DRF's model permissions allow GET for everyone and require *add* for every POST. An action that the
    view does not list is denied.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if request.method == "OPTIONS" or view.action is None:
            return True  # DRF answers an unsupported method with 405
        permission = view.action_permissions.get(view.action)
        return bool(permission) and request.user.has_perm(permission)
