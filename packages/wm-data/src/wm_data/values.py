"""Turns raw records into rows and texts: column names, types, empty fields. Opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from wm_data.errors import WmDataError
from wm_data.recipe import AnySource, Source, TextSource
from wm_data.rows import Row, Text

OnBadRow = Literal["error", "skip"]
FIELDS = ("prompt", "red_answer", "blue_answer")


def check_columns(source: AnySource, found: Iterable[str], place: str) -> None:
    """Raise when a column that the source names is not there."""
    names = list(found)
    for field, name in source.columns.given().items():
        if name not in names:
            raise WmDataError(
                f"{place}: has no column {name!r}; it has {', '.join(map(str, names)) or 'none'}; "
                f"name the right one in the recipe: source {source.id}, columns.{field}"
            )


def rows_of(
    source: Source, records: Iterable[tuple[str, Mapping[str, object]]], on_bad_row: OnBadRow
) -> Iterator[Row]:
    """Yield a row for each (place, record).

    A field that is null, empty or no text is an error, or with `skip` an empty text, which the
    audit drops and counts. A subject has to be there: without it a row could stand in any split.
    """
    columns = [(field, getattr(source.columns, field)) for field in FIELDS]
    for place, record in records:
        texts = [
            _text(record.get(name), source, field, place, on_bad_row) for field, name in columns
        ]
        subject = ""
        if source.columns.subject is not None:
            found = record.get(source.columns.subject)
            subject = _text(found, source, "subject", place, "error")
        yield Row(source.id, *texts, place=place, subject=subject)


def texts_of(
    source: TextSource, records: Iterable[tuple[str, Mapping[str, object]]], on_bad_row: OnBadRow
) -> Iterator[Text]:
    """Yield an unmarked text for each (place, record); faults as for rows."""
    columns = source.columns.given().items()
    for place, record in records:
        found = {
            field: _text(record.get(name), source, field, place, on_bad_row)
            for field, name in columns
        }
        yield Text(source.id, **found, place=place)


def _text(value: object, source: AnySource, field: str, place: str, on_bad_row: OnBadRow) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if on_bad_row == "skip":
        return ""
    name = getattr(source.columns, field)
    what = (
        "is missing or null"
        if value is None
        else "is empty"
        if isinstance(value, str)
        else f"is {type(value).__name__}, not text"
    )
    raise WmDataError(f"{place}: {name} {what}; mend the row or pass --on-bad-row=skip")
