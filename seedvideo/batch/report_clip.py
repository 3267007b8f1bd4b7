"""One clip of the report as HTML: what was seen, when, and what it cost; or why there is nothing.

Everything that comes from a file, a manifest or a model passes through `shown` or `spoken` and is
text from then on. Styles and lengths are classes and SVG attributes, never ``style=``, which the
page forbids. Units: seconds, tokens.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from seedvideo.batch.inputs import extra_of, shown_value
from seedvideo.batch.journal_rows import record_of
from seedvideo.batch.report_timeline import timeline
from seedvideo.records import AnswerRecord, Event, GroundingRecord, MediaRecord, Record, SpanRecord
from seedvideo.utils.text import one_line, printable, printable_lines

if TYPE_CHECKING:
    from seedvideo.batch.journal_rows import Entry

GLYPHS: Final = {
    "done": "\u2713",
    "filtered": "\u2013",
    "failed": "\u2715",
    "quarantined": "\u2298",
    "pending": "\u2026",
}
"""A sign for each verdict, so that none is told by colour alone. Running clips count as pending."""

_PICTURES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_EXTRA_CHARACTERS: Final = 500
"""Most of a value of another column that is shown."""

_DOT: Final = " \u00b7 "


def shown(text: str) -> str:
    """Any text for a page, on one line; what is not printable is spelled out."""
    return escape(printable(text))


def spoken(text: str) -> str:
    """Prose for a page: what is not printable is left out."""
    return escape(one_line(text))


def verdict(state: str) -> str:
    """The state as the report counts it: a clip that is worked on is not done yet."""
    return "pending" if state == "running" else state


def render_clip(entry: "Entry", *, number: int, timings: bool) -> str:
    """The card of one clip.

    Args:
        entry: the clip with its record and sheet.
        number: its place in the job, from 1; the address of the card.
        timings: whether seconds spent and tries are shown.
    """
    state = verdict(entry.state)
    record = record_of(entry)
    extra = _extra(entry.item.extra)
    if record is None:
        body = f"{_reason(entry, state, timings=timings)}{extra}"
        pictured = ""
    else:
        picture = _sheet(entry.sheet, name=entry.item.source)
        words = "\n".join(filter(None, _words(record, timings=timings)))
        body = f"{picture}<div>\n{words}{extra}\n</div>"
        pictured = " pictured" if picture else ""
    return (
        f'<article class="clip {state}" id="clip-{number}" data-state="{state}">\n'
        f"{_head(entry, state, number, record)}\n"
        f'<div class="body{pictured}">\n{body}\n</div>\n</article>\n'
    )


def _head(entry: "Entry", state: str, number: int, record: Record | None) -> str:
    source = PurePath(entry.item.source)
    name = shown(source.name or entry.item.source)
    folder = str(source.parent)
    where = f" <small>{shown(folder)}</small>" if folder not in (".", "") else ""
    known_as = ""
    if entry.item.id != entry.item.source:
        known_as = f" <small>id <code>{shown(entry.item.id)}</code></small>"
    media = "" if record is None or record.media is None else _media(record.media)
    return (
        f'<div class="name"><h2><a href="#clip-{number}">{name}</a>{where}{known_as}</h2>{media}'
        f'<span class="verdict {state}"><span aria-hidden="true">{GLYPHS[state]}</span>{state}'
        "</span></div>"
    )


def _media(media: MediaRecord) -> str:
    facts = [f"{media.duration_s:.1f}\u00a0s", f"{media.width_px}\u00d7{media.height_px}"]
    if media.fps_avg is not None:
        facts.append(f"{media.fps_avg:.4g} fps{' (varies)' if media.is_vfr else ''}")
    facts.append(shown(media.codec))
    return f'<p class="media">{_DOT.join(facts)}</p>'


def _sheet(data: bytes | None, *, name: str) -> str:
    """The contact sheet inside the page, or nothing where it is no picture that browsers show."""
    if data is None:
        return ""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            kind, (width, height) = _PICTURES.get(picture.format or ""), picture.size
    except (UnidentifiedImageError, OSError):
        kind = None
    if kind is None:
        return ""
    packed = base64.b64encode(data).decode("ascii")
    label = f"frames of {shown(name)} with their times"
    return (
        f'<button class="sheet" disabled title="enlarge"><img src="data:{kind};base64,{packed}"'
        f' width="{width}" height="{height}" alt="{label}" loading="lazy" decoding="async">'
        "</button>\n"
    )


def _words(record: Record, *, timings: bool) -> Sequence[str]:
    if record.answer is not None:
        said = _answer(record.answer)
    elif record.grounding is not None:
        said = _grounding(record.grounding, record.media)
    else:
        said = _caption(record)
    unsure = ""
    if record.confident is False:
        told = record.answer or record.grounding
        notes = () if told is None else told.notes
        doubts = [note.message for note in notes if note.code.startswith("answer.")]
        why = spoken("; ".join(doubts)) if doubts else "unlike anything the model was trained on"
        unsure = f'<p class="unsure">not sure: {why}</p>'
    return said, unsure, _cost(record, timings=timings)


def _caption(record: Record) -> str:
    events = record.events
    parts = [f'<p class="said">{spoken(record.text or "")}</p>']
    spans = [(event.start_s, event.end_s) for event in events]
    parts.append(timeline(spans, faded=[not e.confident for e in events], media=record.media))
    if len(events) > 1 or (events and events[0].text != record.text):
        parts.append(
            f'<ol class="moments">{"".join(map(_event, range(1, len(events) + 1), events))}</ol>'
        )
    return "\n".join(parts)


def _event(number: int, event: Event) -> str:
    unsure = "" if event.confident else " <small>not sure</small>"
    return (
        f"<li><i>{number}</i><time>{_span(event)}</time>"
        f"<span>{spoken(event.text)}{unsure}</span></li>"
    )


def _answer(answer: AnswerRecord) -> str:
    parts = [
        f'<p class="asked">{spoken(answer.question)}</p>',
        f'<p class="said">{spoken(answer.answer)}</p>',
    ]
    if answer.options:
        rows = []
        for option in answer.options:
            chosen = ' class="chosen"' if option.text == answer.answer else ""
            share, bar = "", ""
            if option.probability is not None:
                share = f"{option.probability:.2f}"
                bar = _bar(option.probability)
            rows.append(
                f"<li{chosen}><i>{shown(option.label)}</i><span>{spoken(option.text)}</span>"
                f"<em>{share}</em>{bar}</li>"
            )
        parts.append(f'<ol class="choices">{"".join(rows)}</ol>')
    return "\n".join([*parts, _thought(answer.thinking)])


def _grounding(grounding: GroundingRecord, media: MediaRecord | None) -> str:
    parts = [f'<p class="asked">{spoken(grounding.query)}</p>']
    if grounding.found:
        best = grounding.spans[0]
        parts.append(f'<p class="said">{_span(best)}</p>')
    else:
        share = grounding.not_found_probability
        sure = "" if share is None else f" <small>{share:.2f}</small>"
        parts.append(f'<p class="said">not found{sure}</p>')
    spans = [(span.start_s, span.end_s) for span in grounding.spans]
    parts.append(timeline(spans, faded=[place > 0 for place in range(len(spans))], media=media))
    rows = [
        f"<li><i>{number}</i><time>{_span(span)}</time>"
        f"<span>{'' if span.score is None else f'score {span.score:.2f}'}</span></li>"
        for number, span in enumerate(grounding.spans, start=1)
    ]
    if rows:
        parts.append(f'<ol class="moments">{"".join(rows)}</ol>')
    return "\n".join([*parts, _thought(grounding.thinking)])


def _span(span: Event | SpanRecord) -> str:
    """Its times; the unit never stands on a line of its own."""
    return f"{span.start_s:.1f}\u2009\u2013\u2009{span.end_s:.1f}\u00a0s"


def _thought(text: str | None) -> str:
    if not text:
        return ""
    shown_text = escape(printable_lines(text))
    return f'<details class="thought"><summary>thought</summary><p>{shown_text}</p></details>'


def _bar(share: float) -> str:
    return (
        '<svg height="6" aria-hidden="true"><rect class="bar" width="100%" height="6" rx="3"/>'
        f'<rect class="fill" width="{100 * min(1.0, share):.2f}%" height="6" rx="3"/></svg>'
    )


def _cost(record: Record, *, timings: bool) -> str:
    rows = []
    plan, usage = record.plan, record.usage
    if plan is not None:
        share = plan.charged_tokens / plan.budget_tokens if plan.budget_tokens else 0.0
        rows.append(
            (
                "plan",
                f"{shown(plan.policy)} \u00b7 {plan.frames:,} frame{'s' * (plan.frames != 1)}"
                f" \u00b7 {plan.charged_tokens:,} of {plan.budget_tokens:,} tokens"
                f" ({100 * share:.0f}\u2009%){_bar(share)}",
            )
        )
    if usage is not None:
        rows.append(
            (
                "usage",
                f"{usage.visual_tokens:,} visual \u00b7 {usage.prompt_tokens:,} prompt"
                f" \u00b7 {usage.output_tokens:,} output",
            )
        )
    if timings and record.timing_s:
        spent = _DOT.join(f"{shown(key)} {s:.2f}\u00a0s" for key, s in record.timing_s.items())
        rows.append(("time", spent))
    if record.media is not None:
        rows += [
            ("warning", f"{shown(each.message)} <code>{shown(each.code)}</code>")
            for each in record.media.warnings
        ]
    pairs = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<dl class="pairs cost">{pairs}</dl>'


def _extra(text: str) -> str:
    """The other columns of the clip's row."""
    if not text:
        return ""
    pairs = []
    for name, value in extra_of(text).items():
        words = shown_value(value)
        if len(words) > _EXTRA_CHARACTERS:
            words = f"{words[:_EXTRA_CHARACTERS]}\u2026"
        pairs.append(f"<dt>{shown(name)}</dt><dd>{shown(words)}</dd>")
    return f'\n<dl class="pairs extra">{"".join(pairs)}</dl>'


def _reason(entry: "Entry", state: str, *, timings: bool) -> str:
    if state == "pending":
        return '<p class="why">not done yet</p>'
    if state == "filtered":
        return (
            f'<div class="why"><p class="what"><code class="code">{shown(entry.rule or "")}</code>'
            f" {shown(entry.message or '')}</p></div>"
        )
    code, message = shown(entry.code or ""), shown(entry.message or "")
    parts = [f'<p class="what"><code class="code">{code}</code> {message}</p>']
    if entry.hint:
        parts.append(f'<p class="next">Next step: {shown(entry.hint)}</p>')
    facts = [f"stage {shown(entry.stage or '')}"]
    if timings:
        facts.append(f"tried {'once' if entry.tries == 1 else f'{entry.tries} times'}")
    facts.append("may succeed later" if entry.retryable else "fails again unless something changes")
    parts.append(f'<p class="tried">{_DOT.join(facts)}</p>')
    return f'<div class="why">{"".join(parts)}</div>'
