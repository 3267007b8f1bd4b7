"""A journal with every verdict and with hostile names in it, for tests of what reads it."""

from pathlib import Path

from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.records import Event, NoticeRecord, Record
from tests.sample_records import answer_record, done_record, grounding_record

CONTENT = Content(size=10, mtime_ns=1_000, sha256="b" * 64)
MODEL = "a" * 64
PIXEL_JPEG_SIZE = (40, 20)

HOSTILE = (
    "[/red]",
    "\x1b[2J",
    "two\nlines",
    "</title></style></script><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "=HYPERLINK(1)",
    "+1",
    "-1",
    "@sum",
    "\t=1",
    "\r=1",
    " =1",
    "a --> b",
    "nul\0nul",
    "bytes\udcff",
    "\u202egpj.mp4",
    "\u2028line",
    "n" * 4096,
    "../../etc/passwd",
    "a/clip.mp4",
    "b/clip.mp4",
    "a/CLIP.mp4",
    "..",
    ".hidden",
    "con",
    "e\u0301.mp4",
    "\u00e9.mp4",
)
"""Names and words at once: S07 and S12 of the fault list."""


def sheet() -> bytes:
    """A small picture."""
    from io import BytesIO

    from PIL import Image

    data = BytesIO()
    Image.new("RGB", PIXEL_JPEG_SIZE, (200, 40, 40)).save(data, "JPEG")
    return data.getvalue()


def record_for(task: str, source: str, text: str) -> Record:
    """A record of a clip; for captions it has two events, the second unsure."""
    if task == "ask":
        made = answer_record(answer=text)
    elif task == "ground":
        made = grounding_record()
    else:
        events = (
            Event(start_s=0, end_s=4, text=text),
            Event(start_s=4, end_s=10, text=f"{text} again", confident=False),
        )
        made = done_record(text=text, events=events)
    assert made.media is not None
    media = made.media.model_copy(
        update={"warnings": (NoticeRecord(code="media.vfr", message=text),)}
    )
    return made.model_copy(update={"source": source, "media": media})


def journal_of(folder: Path, *, task: str = "caption", hostile: bool = False) -> Path:
    """A folder with a journal: three clips done, one of every other verdict, one not started."""
    names = ["one.mp4", "two.mp4", "three.mp4", "short.mp4", "bad.mp4", "poison.mp4", "later.mp4"]
    if hostile:
        names = [*HOSTILE, *names]
    words = {"ask": {"question": "Which colour?"}, "ground": {"query": "a dog"}}.get(task, {})
    with Journal.open(folder, write=True) as journal:
        rows: list[Item | BadRow] = [Item(id=name, source=f"in/{name}") for name in names]
        rows.append(
            BadRow(
                id="list.csv line 7",
                where="list.csv line 7",
                code="batch.row_invalid",
                message="start is 'soon'",
            )
        )
        journal.plan(rows, Job(task=task, **words), MODEL)  # type: ignore[arg-type]
        for taken in journal.claim(len(names) - 1):
            source = taken.item.source
            match taken.item.id:
                case "short.mp4":
                    journal.mark_filtered("short.mp4", "min_duration", "0.4 s is short", CONTENT)
                case "bad.mp4":
                    journal.mark_failed(
                        "bad.mp4", "media.corrupt", "media", f"{source}: damaged", "copy it again"
                    )
                case "poison.mp4":
                    journal.mark_quarantined(
                        "poison.mp4", "decode.crashed", "decode", f"{source}: SIGSEGV", "report it"
                    )
                case name:
                    text = name if hostile else f"A dog runs in {name}."
                    record = record_for(task, source, text.replace("\udcff", "\ufffd"))
                    journal.mark_done(name, f"of {name!r}", CONTENT, record.json_line(), sheet())
    return folder


def done_names(*, hostile: bool = False) -> list[str]:
    """Ids of the clips that are done, in order."""
    return [*(HOSTILE if hostile else ()), "one.mp4", "two.mp4", "three.mp4"]
