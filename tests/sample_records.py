"""Records made for tests of the things that read them."""

from seedvideo.records import (
    AnswerRecord,
    Event,
    GroundingRecord,
    MediaRecord,
    ModelRecord,
    Option,
    PlanRecord,
    QualityRecord,
    Record,
    SpanRecord,
    UsageRecord,
)


def done_record(
    *,
    source: str = "bikes.mp4",
    text: str = "A man rides a bike down a street.",
    events: tuple[Event, ...] = (),
    duration_s: float = 10.0,
) -> Record:
    """A whole record of a clip; one event over all of it unless others are given."""
    return Record(
        source=source,
        status="done",
        text=text,
        confident=True,
        events=events or (Event(start_s=0.0, end_s=duration_s, text=text),),
        media=MediaRecord(
            duration_s=duration_s,
            start_s=0.0,
            width_px=640,
            height_px=360,
            fps_avg=25.0,
            is_vfr=False,
            rotation_deg=0,
            codec="h264",
            pix_fmt="yuv420p",
        ),
        quality=QualityRecord(
            duration_s=duration_s,
            width_px=640,
            height_px=360,
            aspect=1.77778,
            fps=25.0,
            bits_per_px=0.08,
            motion_mean=6.5,
            motion_max=21.25,
            detail_mean=9.5,
            novelty_max=12.5,
            events=2,
            shots=1,
            black_share=0.0,
            still_share=0.125,
            letterbox_share=0.0,
            flashes=0,
            brightness=0.4375,
            colour=41.5,
        ),
        plan=PlanRecord(
            policy="uniform",
            geometry="nano",
            budget_tokens=512,
            charged_tokens=448,
            frames=8,
            visual_tokens=384,
            text_tokens=64,
            tokens=448,
        ),
        model=ModelRecord(name="nano", sha256="0" * 64),
        usage=UsageRecord(visual_tokens=384, prompt_tokens=456, output_tokens=11),
        timing_s={"open": 0.1, "total": 1.0},
    )


def answer_record(
    *,
    answer: str = "blue",
    options: tuple[tuple[str, float | None], ...] = (("red", 0.0312), ("blue", 0.9688)),
    thinking: str | None = None,
) -> Record:
    """A whole record of a question about the clip, with options or open."""
    made = AnswerRecord(
        question="Which colour is the bike?",
        answer=answer,
        options=tuple(
            Option(label=label, text=text, probability=probability)
            for label, (text, probability) in zip("ABCDEFGH", options, strict=False)
        ),
        confident=True,
        thinking=thinking,
        raw=answer,
    )
    return done_record().model_copy(
        update={"task": "ask", "text": answer, "events": (), "answer": made}
    )


def grounding_record(
    *,
    spans: tuple[tuple[float, float, float | None], ...] = ((4.0, 8.0, 0.8312), (12.04, 13.5, 0.1)),
    not_found_probability: float | None = 0.05,
) -> Record:
    """A complete record of a grounded moment."""
    text = f"{spans[0][0]:.1f} - {spans[0][1]:.1f} s" if spans else "not found"
    made = GroundingRecord(
        query="the dog jumps",
        found=bool(spans),
        not_found_probability=not_found_probability,
        spans=tuple(SpanRecord(start_s=a, end_s=b, score=score) for a, b, score in spans),
        confident=True,
        raw=text,
    )
    return done_record().model_copy(
        update={"task": "ground", "text": text, "events": (), "grounding": made}
    )
