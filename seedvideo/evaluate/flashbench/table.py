"""What choosers of frames kept, as a Markdown table. Shares are printed times 100."""

from collections.abc import Sequence

from seedvideo.evaluate.flashbench.quick import MEASURES, Row
from seedvideo.evaluate.table import estimate_text


def render(found: Sequence[Row], *, budget_tokens: int) -> str:
    """The table of a quick run.

    Args:
        found: rows with the same choosers.
        budget_tokens: of every video.
    """
    columns = [
        (name, measure) for measure in MEASURES for name, of in found[0].kept if of == measure
    ]
    titles = " | ".join(f"{measure}, {name}" for name, measure in columns)
    lines = [
        f"# flashbench, quick, budget {budget_tokens:,}",
        "",
        f"One video of two minutes a case, {found[0].questions:,} questions in all.",
        "",
        f"| case | questions | {titles} |",
        f"| --- {'| ---: ' * (len(columns) + 1)}|",
    ]
    for row in found:
        cells = " | ".join(estimate_text(row.kept[column]) for column in columns)
        lines.append(f"| {row.name} | {row.questions} | {cells} |")
    return "\n".join(lines) + "\n"
