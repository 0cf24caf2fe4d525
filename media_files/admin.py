"""Admin classes for originals. Other apps add mixins; the site combines and registers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList, ChangeListSearchForm
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from media_files.conf import limits
from media_files.errors import MediaError
from media_files.facts import FileFacts, read_facts
from media_files.free_text import text_fault
from media_files.imaging.formats.signatures import CONTENT_TYPES
from media_files.localised import human_bytes, number
from media_files.models import MediaFile
from media_files.services import add_file, restore_file

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    FileModelAdmin = admin.ModelAdmin[MediaFile]
    FileModelForm = forms.ModelForm[MediaFile]
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    # Django's classes are not generic at run time.
    FileModelAdmin = AnyModelAdmin = admin.ModelAdmin
    FileModelForm = forms.ModelForm

# Rows deleted per transaction. Other writers never wait for more than one such page.
_DELETED_TOGETHER = 200
# A longer list would not be read before clicking "Yes, I'm sure".
_LISTED_BEFORE_DELETING = 100


def error_text(error: MediaError) -> str:
    """Return the error's message with its code, which users can quote when they ask for help."""
    return gettext("%(message)s (code: %(code)s)") % {"message": error, "code": error.code}


def dimensions_text(width: int | None, height: int | None) -> str:
    """Return width and height joined by a multiplication sign, or a dash if unknown."""
    return f"{width} \N{MULTIPLICATION SIGN} {height}" if width and height else "-"


def size_text(size: int | None) -> str:
    """Return the size as ``3.2 MB``, or a dash if unknown."""
    return "-" if size is None else human_bytes(size)


def day_text(moment: datetime) -> str:
    """Return the date as ``22 Nov 2026``, in local time."""
    return date_format(localtime(moment), "DATE_FORMAT")


class NothingChanged(Exception):
    """The submitted file changes nothing. The message explains why; ``row`` is the row to redirect to."""

    def __init__(self, row: MediaFile, message: str) -> None:
        super().__init__(message)
        self.row = row


class FileForm(FileModelForm):
    """Upload form for one file, validated by its bytes."""

    file = forms.FileField(
        # An empty file gets the `empty` error of the API contract, not Django's message.
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": "image/*,video/*"}),
    )

    facts: FileFacts | None = None

    class Meta:
        model = MediaFile
        fields = ["file"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha256_before = self.instance.sha256
        if "file" not in self.fields:  # the user may view but not change it
            return
        field = self.fields["file"]
        if self.instance.pk:
            field.required, field.label = False, _("Replace with")
            field.help_text = _(
                "The new file takes this one's place. What was made from the old one is made again."
            )
        else:
            field.label = _("Photograph or video")
            field.help_text = _("At most %(size)s. The file itself is never changed.") % {
                "size": human_bytes(limits().max_bytes)
            }

    def clean_file(self) -> Any:
        given = self.cleaned_data["file"]
        if isinstance(given, UploadedFile):
            try:
                self.facts = read_facts(cast(BinaryIO, given.file), limits())
            except MediaError as error:
                raise ValidationError(error_text(error), code=error.code) from error
        return given


class FormatFilter(admin.SimpleListFilter):
    """Filter by format. Lists the accepted formats, to avoid a query over a million rows."""

    title = _("format")
    parameter_name = "format"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in CONTENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MediaFile]) -> QuerySet[MediaFile]:
        return queryset.filter(format=self.value()) if self.value() else queryset


class SearchForm(ChangeListSearchForm):
    """The search of a list, limited like every text that is searched for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields[SEARCH_VAR].validators.append(_refuse_long_search)


def _refuse_long_search(text: str) -> None:
    if fault := text_fault(text):
        raise ValidationError(fault)


class LimitedChangeList(ChangeList):
    search_form_class = SearchForm


class TitledList(AnyModelAdmin):
    """A change list with a custom title instead of "Select ... to change", and a limited search."""

    list_title: ClassVar[StrOrPromise]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LimitedChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": self.list_title, **(extra_context or {})})


class MadeByTheMachine(AnyModelAdmin):
    """Rows that cannot be added or changed by hand. Users with the delete permission may delete them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Kept(MadeByTheMachine):
    """Rows that cannot be deleted by hand either."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AddedFilter(admin.DateFieldListFilter):
    """Filter by creation date, titled "date"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("date")


class DeletesInPages(AnyModelAdmin):
    """Delete large selections without listing every row or blocking other writers."""

    def get_deleted_objects(
        self, objs: Sequence[Any] | QuerySet[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Return what the confirmation page lists.

        Deleting a row also deletes everything derived from it. The permission to delete the row is enough
        for that, just like in the API.
        """
        count = objs.count() if isinstance(objs, QuerySet) else len(objs)
        plural = str(self.opts.verbose_name_plural)
        if count > _LISTED_BEFORE_DELETING:
            text = gettext("%(count)s %(things)s with their proxies and analyses")
            return [text % {"count": number(count), "things": plural}], {plural: count}, set(), []
        listed, counts, _, protected = super().get_deleted_objects(objs, request)
        return listed, counts, set(), protected

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for page in _pages(queryset):
            page.delete()


class MediaFileAdmin(TitledList, DeletesInPages, FileModelAdmin):
    """List, upload, replace and delete originals. Apps that derive data from originals add a mixin."""

    list_title = _("Media files")
    form = FileForm
    change_form_template = "media_files/file_change_form.html"
    list_display = ["name", "original_facts", "size", "added"]
    list_filter = ["file_type", FormatFilter, ("created_at", AddedFilter)]
    search_fields = ["original_name", "sha256__startswith"]
    search_help_text = _("Part of the name, or the beginning of the SHA-256.")
    ordering = ["-id"]
    list_per_page = 50
    list_max_show_all = 200
    # Each of these would count the whole table again.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    readonly_fields = [
        "original", "kind", "dimensions", "size", "turned", "colour", "place", "metadata", "captured_at",
        "kept", "uploader", "created_at", "updated_at", "sha256",
    ]  # fmt: skip

    class Media:
        css = {"all": ["media_files/admin.css"]}

    # -- Extension points for mixins ---------------------------------------------------------------

    def cards(self, request: HttpRequest, row: MediaFile) -> list[SafeString]:
        """Return the cards shown next to a file's details. Mixins append theirs to those of `super`."""
        return []

    # -- The list ----------------------------------------------------------------------------------

    @admin.display(description=_("name"), ordering="original_name")
    def name(self, row: MediaFile) -> str:
        return str(row)

    @admin.display(description=_("format"), ordering="format")
    def original_facts(self, row: MediaFile) -> SafeString:
        """Return format and dimensions in one column, so that the list and its filters fit into 1280 px."""
        return format_html('{}<br><span class="quiet">{}</span>', self.kind(row), self.dimensions(row))

    @admin.display(description=_("format"))
    def kind(self, row: MediaFile) -> str:
        if row.file_type == MediaFile.FileType.VIDEO:
            return gettext("%(format)s video") % {"format": row.format} if row.format else gettext("video")
        return row.format or gettext("not read yet")

    @admin.display(description=_("dimensions"))
    def dimensions(self, row: MediaFile) -> str:
        return dimensions_text(row.width, row.height)

    @admin.display(description=_("size"), ordering="bytes")
    def size(self, row: MediaFile) -> str:
        return size_text(row.bytes)

    @admin.display(description=_("added"), ordering="id")  # by the index: ids grow with time
    def added(self, row: MediaFile) -> str:
        return day_text(row.created_at)

    # -- One file ----------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: MediaFile | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["file"]})]
        about = (
            None,
            {"fields": ["original", "kind", "dimensions", "size", "captured_at", "place", "metadata"]},
        )
        details = (
            _("Details"),
            {
                "classes": ["collapse"],
                "fields": ["turned", "colour", "kept", "uploader", "created_at", "updated_at", "sha256"],
            },
        )
        replace = (_("Replace this file"), {"fields": ["file"]})
        return [about, details, *([replace] if self.has_change_permission(request, obj) else [])]

    @admin.display(description=_("original"))
    def original(self, row: MediaFile) -> SafeString:
        return format_html(
            '<a href="{}" target="_blank" rel="noopener">{}</a>',
            reverse("file-content", args=[row.pk]),
            gettext("Open the original"),
        )

    @admin.display(description=_("upright"))
    def turned(self, row: MediaFile) -> str:
        if row.orientation == 1:
            return gettext("Yes")
        return gettext("Only when turned (EXIF orientation %(number)s)") % {"number": row.orientation}

    @admin.display(description=_("pixels"))
    def colour(self, row: MediaFile) -> str:
        if not row.mode:
            return "-"
        plain, special = gettext("plain sRGB or grey"), gettext("special colours, converted in its proxy")
        facts = [row.mode, plain if row.standard_colour else special]
        if row.frames > 1:
            text = ngettext("%(count)s frame", "%(count)s frames", row.frames)
            facts.append(text % {"count": number(row.frames)})
        return ", ".join(facts)

    @admin.display(description=_("GPS data"))
    def place(self, row: MediaFile) -> str:
        return _presence_text(row.has_location)

    @admin.display(description=_("metadata"))
    def metadata(self, row: MediaFile) -> str:
        return _presence_text(row.has_metadata)

    @admin.display(description=pgettext_lazy("where the file is", "kept"))
    def kept(self, row: MediaFile) -> str:
        if row.managed:
            return gettext("In our storage")
        return gettext("Where the file was before; NovaProxy never changes or deletes it")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row: MediaFile | None = kwargs.get("obj")
        context |= {
            "cards": self.cards(request, row) if row else [],
            "show_save_and_add_another": row is None,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    # -- Uploading and replacing -------------------------------------------------------------------

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or process the form.

        Skips Django's transaction: the file is hashed and stored here, and on SQLite every other writer
        would wait for that. Saving the row opens its own transaction.
        """
        try:
            return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined,no-any-return]
        except NothingChanged as nothing:
            self.message_user(request, str(nothing), messages.WARNING)
            return HttpResponseRedirect(reverse("admin:media_files_mediafile_change", args=[nothing.row.pk]))
        except MediaError as error:
            # The form was valid, but the storage refused the file.
            self.message_user(request, error_text(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> MediaFile:
        upload, facts = form.cleaned_data.get("file"), form.facts
        row: MediaFile = super().save_form(request, form, change)
        if change:
            if facts is None:
                raise NothingChanged(row, gettext("Nothing was changed: no new file was chosen."))
            if facts.sha256 == form.sha256_before:
                if restore_file(MediaFile.objects.get(pk=row.pk), upload.file, facts):
                    raise NothingChanged(
                        row, gettext("The stored file was missing or damaged. It was put back.")
                    )
                raise NothingChanged(
                    row, gettext("Nothing was changed: the new file is the same as the one here.")
                )
            row.pending_facts = facts
            return row
        row, is_new = add_file(upload.file, upload.name, uploader=cast(Any, request.user), facts=facts)
        if not is_new:
            text = gettext("This file is in the library already, as “%(name)s”. Nothing was stored.")
            raise NothingChanged(row, text % {"name": row})
        return row

    def save_model(self, request: HttpRequest, obj: MediaFile, form: Any, change: bool) -> None:
        if change:
            obj.save()
        # `add_file` has already saved a new row.


def _presence_text(present: bool | None) -> str:
    if present is None:
        return gettext("Unknown: part of the file could not be read")
    return gettext("Contained in the file") if present else pgettext("what a file contains", "None")


def _pages(rows: QuerySet[Any]) -> Iterator[QuerySet[Any]]:
    """Yield the rows in pages of `_DELETED_TOGETHER`."""
    keys = rows.order_by("pk").values_list("pk", flat=True)
    page = list(keys[:_DELETED_TOGETHER])
    while page:
        yield rows.model._default_manager.filter(pk__in=page)
        page = list(keys.filter(pk__gt=page[-1])[:_DELETED_TOGETHER])
