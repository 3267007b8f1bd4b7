"""Command ``seedvideo curate``: filters, duplicates and balance of a table of clips."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, Console
from seedvideo.cli.options import NearDistance, Overwrite, Quiet, Verbose, with_options
from seedvideo.utils.text import format_fraction, printable

if TYPE_CHECKING:
    from seedvideo.curation.duplicates import DuplicateOptions
    from seedvideo.curation.expression import Expression
    from seedvideo.curation.options import CurationOptions
    from seedvideo.curation.results import CurationResult


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Conditions of the rows that stay."""

    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="EXPR",
            help="Keep rows for which this is true, such as 'duration_s >= 2 and not aspect > 3'."
            " May repeat.",
        ),
    ] = None
    preset: Annotated[
        list[str] | None,
        typer.Option(
            "--preset", metavar="NAME", help="Apply this named filter, such as size. May repeat."
        ),
    ] = None

    def parse(self) -> "list[tuple[str, Expression]]":
        """Return the filters with their names.

        Raises:
            ConfigError: ``config.invalid``.
        """
        from seedvideo.curation.expression import parse_expression
        from seedvideo.curation.presets import parse_preset

        kept = [("keep", parse_expression(text)) for text in self.keep or ()]
        return kept + [(f"preset:{name}", parse_preset(name)) for name in self.preset or ()]


@dataclass(frozen=True, kw_only=True)
class DuplicateFlags:
    """Duplicates to leave out."""

    drop_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-duplicates", help="Combine --drop-exact, --drop-same-packets and --drop-near."
        ),
    ] = False
    drop_exact: Annotated[
        bool,
        typer.Option("--drop-exact", help="Drop clips with the same bytes as another (sha256)."),
    ] = False
    drop_same_packets: Annotated[
        bool,
        typer.Option(
            "--drop-same-packets",
            help="Drop clips with the same video packets as another, in any container"
            " (packets_sha256).",
        ),
    ] = False
    drop_near: Annotated[
        bool,
        typer.Option("--drop-near", help="Drop near-duplicates of another clip (signature)."),
    ] = False
    near_distance: NearDistance = None
    drop_semantic: Annotated[
        bool,
        typer.Option(
            "--drop-semantic", help="Drop clips whose embedding is like that of another clip."
        ),
    ] = False
    semantic_distance: Annotated[
        float | None,
        typer.Option(
            metavar="DISTANCE",
            min=0.0,
            max=1.0,
            help="Set the maximum cosine distance of such clips. [default: 0.01]",
        ),
    ] = None
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            metavar="COLUMN|FILE.npy",
            help="Read embeddings from this column, or from this file with a row for each clip.",
        ),
    ] = None
    drop_same_caption: Annotated[
        bool,
        typer.Option(
            "--drop-same-caption", help="Drop clips whose caption is nearly that of another clip."
        ),
    ] = False
    caption_similarity: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0.01,
            max=1.0,
            help="Set the minimum common fraction of the runs of three words of such captions."
            " [default: 0.8]",
        ),
    ] = None
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer",
            metavar="COLUMN",
            help="Keep the duplicate with the greatest number here. [default: the first row]",
        ),
    ] = None

    def resolve(self, *, has_scorer: bool) -> "DuplicateOptions":
        """Return the options of the comparison.

        Raises:
            typer.BadParameter: if an option would have no effect.
        """
        from seedvideo.curation import duplicates as names

        flags = {
            names.EXACT: self.drop_exact or self.drop_duplicates,
            names.PACKETS: self.drop_same_packets or self.drop_duplicates,
            names.NEAR: self.drop_near or self.drop_duplicates,
            names.SEMANTIC: self.drop_semantic,
            names.CAPTION: self.drop_same_caption,
        }
        rules = frozenset(rule for rule, is_given in flags.items() if is_given)
        given = {
            "near_levels": (self.near_distance, names.NEAR, "--near-distance"),
            "semantic_distance": (self.semantic_distance, names.SEMANTIC, "--semantic-distance"),
            "embeddings": (self.embeddings, names.SEMANTIC, "--embeddings"),
            "caption_similarity": (self.caption_similarity, names.CAPTION, "--caption-similarity"),
        }
        for value, rule, option in given.values():
            if value is not None and rule not in rules:
                needed = "--drop-same-caption" if rule == names.CAPTION else f"--drop-{rule}"
                raise typer.BadParameter(f"{option} needs {needed}")
        if self.prefer is not None and not rules:
            raise typer.BadParameter("--prefer needs a rule for duplicates, such as --drop-near")
        if names.SEMANTIC in rules and self.embeddings is None and not has_scorer:
            raise typer.BadParameter(
                "--drop-semantic needs embeddings: name their column or file with --embeddings, or"
                " a model that makes them with --scorer"
            )
        if self.near_distance is not None and not self.near_distance > 0:
            raise typer.BadParameter(f"--near-distance is {self.near_distance:g}, expected above 0")
        values: dict[str, Any] = {
            name: value for name, (value, _, _) in given.items() if value is not None
        }
        return names.DuplicateOptions(rules=rules, prefer=self.prefer, **values)


@dataclass(frozen=True, kw_only=True)
class BalanceOptions:
    """How often the rows of each domain are taken."""

    balance: Annotated[
        str | None,
        typer.Option(
            "--balance",
            metavar="RULE",
            help="Balance domains: cap:CLIPS, boost:FACTOR, metaclip:CLIPS, repeat:FRACTION or"
            " temperature:EXPONENT:SIZE.",
        ),
    ] = None
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="Read the domain of a clip from this column."),
    ] = None
    concepts: Annotated[
        str | None,
        typer.Option(
            "--concepts",
            metavar="FILE",
            help="Take words and phrases of this list as domains where captions have them.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Draw with this seed. [default: 0]")
    ] = None
    weights: Annotated[
        bool,
        typer.Option(
            "--weights", help="Write how often a row is taken as a column (repeats), not as copies."
        ),
    ] = False

    def check(self, *, has_report: bool) -> None:
        """Refuse options without an effect.

        Raises:
            typer.BadParameter: with the option that is missing.
        """
        if self.balance is None:
            for option, is_given in (
                ("--seed", self.seed is not None),
                ("--weights", self.weights),
            ):
                if is_given:
                    raise typer.BadParameter(f"{option} needs --balance")
            if self.by is not None and not has_report:
                raise typer.BadParameter("--by needs --balance, or --report to show the domains")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Scores of captions."""

    clip_score: Annotated[
        str | None,
        typer.Option(
            "--clip-score",
            metavar="COLUMN",
            help="Add how well frames of the video fit the caption: the mean in this column, the"
            " maximum in COLUMN_max. Opens the videos.",
        ),
    ] = None
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer",
            metavar="NAME:REST",
            help="Score with this model: transformers:FOLDER for a CLIP or SigLIP checkpoint, or"
            " the name of a scorer that another package adds.",
        ),
    ] = None
    score_frames: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Score at most so many frames of a plan.")
    ] = 8


@partial(with_options, without=())
def curate(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE...",
            help="Tables of clips (.csv, .jsonl, .parquet, .txt): of seedvideo inspect, exports of"
            " jobs, or lists of your own.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the rows that stay to this file (.csv, .jsonl or .parquet).",
        ),
    ],
    *,
    filters: FilterOptions,
    duplicates: DuplicateFlags,
    balancing: BalanceOptions,
    scores: ScoreOptions,
    dropped: Annotated[
        str | None,
        typer.Option(
            "--dropped", metavar="FILE", help="Write each dropped row with its rule to this file."
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report", metavar="FILE.html", help="Write a page with counts before and after."
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Select rows of a table of clips: filters, duplicates, balance.

    Opens no video, except with --clip-score: signals are columns of the table, which seedvideo
    inspect adds.
    """
    console = Console(quiet=quiet, verbose=verbose)
    with console.exit_on_error(COULD_NOT_START):
        options = _resolve(
            filters, duplicates, balancing, scores, console, has_report=report is not None
        )
        from seedvideo.curation.curate import curate as run
        from seedvideo.curation.report import check_report, report_columns, write_report
        from seedvideo.curation.table import refuse_same_paths

        page, left_out = (None if each is None else Path(each) for each in (report, dropped))
        refuse_same_paths(tables, {"-o": Path(output), "--dropped": left_out, "--report": page})
        if page is not None:
            check_report(page, overwrite=overwrite)
        result = run(
            tables,
            Path(output),
            options,
            dropped=left_out,
            signals=() if page is None else report_columns(options),
            overwrite=overwrite,
            on_progress=lambda stage, rows: console.status(f"{rows:,} rows {stage}"),
        )
    with console.exit_on_error(SOME_FAILED):
        if page is not None:
            write_report(page, result, options, tables, overwrite=overwrite)
    console.clear_status()
    for line in format_result(result, output):
        console.info(line)
    if result.invalid and dropped is None:
        console.info("list the unusable rows with --dropped FILE")
    if result.invalid or result.failed_scores:
        raise typer.Exit(SOME_FAILED)


def _resolve(
    filters: FilterOptions,
    duplicates: DuplicateFlags,
    balancing: BalanceOptions,
    scores: ScoreOptions,
    console: Console,
    *,
    has_report: bool,
) -> "CurationOptions":
    parsed = filters.parse()
    balancing.check(has_report=has_report)
    if (scores.clip_score is None) != (scores.scorer is None):
        raise typer.BadParameter("--clip-score and --scorer need each other")
    resolved = duplicates.resolve(has_scorer=scores.scorer is not None)
    from seedvideo.curation.balance import BalanceRule
    from seedvideo.curation.concepts import ConceptList
    from seedvideo.curation.options import CurationOptions

    rule = None if balancing.balance is None else BalanceRule.parse(balancing.balance)
    words = None if balancing.concepts is None else ConceptList.read(Path(balancing.concepts))
    scorer = None
    if scores.clip_score is not None and scores.scorer is not None:
        from seedvideo.curation.scoring import CaptionScorer, load_scorer

        scorer = CaptionScorer(
            load_scorer(scores.scorer),
            column=scores.clip_score,
            max_frames=scores.score_frames,
            embeds=duplicates.drop_semantic and duplicates.embeddings is None,
            on_failure=lambda row, error: console.error(error, source=row.path),
        )
    return CurationOptions(
        filters=parsed,
        duplicates=resolved,
        balance=rule,
        by=balancing.by,
        concepts=words,
        seed=balancing.seed or 0,
        weights=balancing.weights,
        scorer=scorer,
    )


def format_result(result: "CurationResult", output: str) -> list[str]:
    """Return the lines about a result: what stays, then what each rule drops.

    ::

        61,234 of 100,000 (61.2%) rows stay: curated.jsonl
        keep           30,123 dropped
        near            8,643 dropped
    """
    lines = [f"{format_fraction(result.kept, result.rows)} rows stay: {printable(output)}"]
    width = max(map(len, result.dropped), default=0)
    for rule, count in result.dropped.items():
        unknown = result.unknown.get(rule, 0)
        reason = f", of which {unknown:,} for a value that is empty or of another type"
        lines.append(f"  {rule:{width}}  {count:,} dropped{reason if unknown else ''}")
    if result.taken != result.kept:
        lines.append(f"  {result.taken:,} clips with repetitions")
    lines += [
        f"  {count:,} rows have nothing to compare by the rule {rule}"
        for rule, count in result.uncompared.items()
        if count
    ]
    return lines
