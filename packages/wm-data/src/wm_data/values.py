"""Turns raw records into rows and texts: column names, types, empty fields. Opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, cast

from wm_data.errors import WmDataError
from wm_data.recipe import AnySource, Source, TextSource
from wm_data.rows import Row, Text, has_surrogate

OnBadRow = Literal["error", "skip"]
FIELDS = ("prompt", "red_answer", "blue_answer")
SKIP = "mend the row or pass --on-bad-row=skip"
ONE_MESSAGE = '[{"role": "user", "content": TEXT}]'

# What each reason means for which a record makes no row, in the order in which they are tested.
FAULTS = {
    "broken row": "its line has more or fewer fields than the header",
    "empty": "the prompt or an answer is empty",
    "not text": "the prompt or an answer is no text",
    "half a character": "the prompt or an answer holds half a surrogate pair",
}


class Where(NamedTuple):
    """Where a record stands: `path` as the user typed it, `name` without the source's folder."""

    row: int  # from 1
    path: str
    name: str

    def __str__(self) -> str:
        """For the terminal."""
        return f"row {self.row:,} of {self.path}"

    @property
    def written(self) -> str:
        """For files: the same on every machine."""
        return f"row {self.row:,} of {self.name}"


class Broken(NamedTuple):
    """In place of a record: what is wrong with its line, and how to mend it."""

    what: str
    advice: str


Records = Iterable[tuple[Where, Mapping[str, object] | Broken]]


def check_columns(source: AnySource, found: Iterable[str], place: str) -> None:
    """Raise when a column that the source names is not there."""
    names = list(found)
    for field, name in source.columns.given().items():
        if name not in names:
            raise WmDataError(
                f"{place}: has no column {name!r}; it has {', '.join(map(str, names)) or 'none'}; "
                f"name the right one in the recipe: source {source.id}, columns.{field}"
            )
        if names.count(name) > 1:
            raise WmDataError(
                f"{place}: has the column {name!r} twice; leave or rename one of them"
            )


def rows_of(source: Source, records: Records, on_bad_row: OnBadRow) -> Iterator[Row]:
    """Yield a row for each (place, record).

    A field that is null, empty or no text is an error, or with `skip` an empty text and the row's
    `fault`, by which the audit drops and counts it. A subject has to be there: without it a row
    could stand in any split.
    """
    columns = [(field, getattr(source.columns, field)) for field in FIELDS]
    for where, record in records:
        if isinstance(record, Broken):
            _refuse(where, record.what, record.advice, on_bad_row)
            yield Row(source.id, "", "", "", where.written, fault="broken row")
            continue
        texts: list[str] = []
        faults: set[str] = set()
        for field, name in columns:
            text, fault = _text(record.get(name), name, field, where, on_bad_row)
            texts.append(text)
            faults.add(fault)
        subject = ""
        if source.columns.subject is not None:
            found = record.get(source.columns.subject)
            subject, _ = _text(found, source.columns.subject, "subject", where, "error")
        yield Row(source.id, *texts, place=where.written, subject=subject, fault=_first(faults))


def texts_of(source: TextSource, records: Records, on_bad_row: OnBadRow) -> Iterator[Text]:
    """Yield an unmarked text for each (place, record); faults as for rows.

    One whose prompt cannot be read is at fault too: which prompt it answers is not known.
    """
    names = source.columns
    for where, record in records:
        if isinstance(record, Broken):
            _refuse(where, record.what, record.advice, on_bad_row)
            yield Text(source.id, "", place=where.written, fault="broken row")
            continue
        text, fault = _text(record.get(names.text), names.text, "text", where, on_bad_row)
        prompt = ""
        if names.prompt is not None:
            value = record.get(names.prompt)
            prompt, bad = _text(value, names.prompt, "prompt", where, on_bad_row)
            fault = fault or (bad and "no prompt")
        yield Text(source.id, text, prompt, where.written, fault)


def message_text(value: object) -> object:
    """The text of a list of one user message, as chat datasets hold prompts; else the value.

    >>> message_text([{"role": "user", "content": "Why?"}]), message_text([])
    ('Why?', [])
    """
    whole = message = value
    if isinstance(value, list) and len(items := cast(list[object], value)) == 1:
        message = items[0]
    elif isinstance(value, dict):  # a list of features, as `datasets` may give it
        fields = cast(dict[str, object], value)
        lists = [cast(list[object], v) for v in fields.values() if isinstance(v, list)]
        if len(lists) < len(fields) or any(len(found) != 1 for found in lists):
            return whole
        message = {name: found[0] for name, found in zip(fields, lists, strict=True)}
    if not isinstance(message, dict):
        return whole
    given = {k: v for k, v in cast(dict[str, object], message).items() if v is not None}
    text = given.get("content")
    return text if isinstance(text, str) and given == {"role": "user", "content": text} else whole


def _text(
    value: object, name: str, field: str, where: Where, on_bad_row: OnBadRow
) -> tuple[str, str]:
    """A field's text and no fault, or with `skip` no text and its fault."""
    if field == "prompt":
        value = message_text(value)
    if isinstance(value, str) and value.strip() and not has_surrogate(value):
        return value, ""
    if value is None:
        fault, what = "empty", "is missing or null"
    elif not isinstance(value, str):
        shape = f", nor a list of one user message {ONE_MESSAGE}" if field == "prompt" else ""
        fault, what = "not text", f"is {type(value).__name__}, not text{shape}"
    elif not value.strip():
        fault, what = "empty", "is empty"
    else:
        fault, what = "half a character", "holds half a surrogate pair, which is no text"
    # Without its subject a row could stand in any split: skipping is not offered.
    advice = SKIP if field != "subject" else "mend or remove the row"
    _refuse(where, f"{name} {what}", advice, on_bad_row)
    return "", fault


def _refuse(where: Where, what: str, advice: str, on_bad_row: OnBadRow) -> None:
    if on_bad_row == "error":
        raise WmDataError(f"{where}: {what}; {advice}")


def _first(faults: set[str]) -> str:
    return next((fault for fault in FAULTS if fault in faults), "")
