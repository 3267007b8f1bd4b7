"""The recipe of the answer branch, as commands: ``python -m seedvideo.training answers --help``.

In their order: ``bank`` shows scenes and photos to the encoder of a finished checkpoint and keeps
what it saw; ``fit`` trains adapter and decoder on questions about them, may be stopped whenever and
goes on from its last save; ``score`` counts exact answers on a bank that was not learned from;
``export`` writes the branch into the checkpoint; ``measure`` looks for photos in slideshows.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from seedvideo.evaluate.synthetic.world import HELD_OUT, all_coloured_shapes
from seedvideo.model import DEFAULT_MODEL, WEIGHTS, load
from seedvideo.model.checkpoint import load_checkpoint, save_checkpoint
from seedvideo.model.language_model import DecoderBlock, DecoderConfig
from seedvideo.model.metadata import Tokenizer
from seedvideo.model.seedvl import AnswerBranch, AnswerConfig, SeedVL
from seedvideo.training.answer_batches import Pools
from seedvideo.training.answer_data import Told
from seedvideo.training.answer_questions import Quiz
from seedvideo.training.answer_trainer import AnswerRecipe, AnswerRun, exactness, read_averaged
from seedvideo.training.auxiliary_tasks import teach, teach_frames
from seedvideo.training.collate import Encode, cached
from seedvideo.training.data import PLAIN_SIZE, Split, read_flickr8k, read_pixels
from seedvideo.training.export import with_answers
from seedvideo.training.feature_cache import Bank, Shelf, joined, make_bank
from seedvideo.training.metrics import measure_moments

DEPTH = 6
_FRESH_SCALE = 0.2

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

DataOption = Annotated[Path, typer.Option(help="Photos and captions; layout in train/photos.py.")]
RunOption = Annotated[Path, typer.Option(help="Folder of the branch in training.")]
BanksOption = Annotated[list[Path], typer.Option("--bank", help="File made by the command bank.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
WorkersOption = Annotated[int, typer.Option(help="Processes that draw; 0 draws in this one.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of torch.")]


@app.command()
def bank(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="File to write.")],
    split: Annotated[Split, typer.Option(help="Photos: train, dev or test.")] = "train",
    scenes: Annotated[int, typer.Option(help="Backgrounds with eight events each.")] = 350,
    views: Annotated[int, typer.Option(help="Of each photo.")] = 1,
    moves: Annotated[bool, typer.Option(help="Whether things may move.")] = True,
    seed: int = 1,
    device: DeviceOption = "cpu",
    workers: WorkersOption = 0,
    threads: ThreadsOption = 2,
) -> None:
    """Show scenes and photos to the encoder, and keep what it saw."""
    torch.set_num_threads(threads)
    photos = read_flickr8k(data, split)
    model = load_checkpoint(WEIGHTS / DEFAULT_MODEL).model.to(device)
    made = make_bank(
        model,
        read_pixels(data, photos),
        scenes=scenes,
        views=views,
        seed=seed,
        moves=moves,
        among=[thing for thing in all_coloured_shapes() if thing not in HELD_OUT],
        workers=workers,
        progress=lambda line: typer.echo(line, err=True),
    )
    made.save(out)


@app.command()
def fit(
    data: DataOption,
    run: RunOption,
    banks: BanksOption,
    steps: Annotated[int, typer.Option(help="Last step of the recipe.")] = 7_000,
    decay_steps: Annotated[int, typer.Option(help="Steps in which the rate falls to 0.")] = 2_400,
    batch_tokens: Annotated[int, typer.Option(help="Positions of a step, about.")] = 2_500,
    learning_rate: float = 1e-3,
    dropout: float = 0.0,
    thing_steps: Annotated[int, typer.Option(help="Steps of the first lesson.")] = 3_000,
    frame_steps: Annotated[int, typer.Option(help="Steps of the second lesson.")] = 4_000,
    seed: int = 1,
    shipped: Annotated[
        bool, typer.Option(help="Start from the shipped branch and skip the first lessons.")
    ] = False,
    save_every: int = 100,
    log_every: int = 1,
    device: DeviceOption = "cpu",
    workers: WorkersOption = 0,
    threads: ThreadsOption = 2,
) -> None:
    """Train the branch, or go on with a training that was stopped."""
    torch.set_num_threads(threads)
    torch.multiprocessing.set_sharing_strategy("file_system")
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    seen = joined([Bank.load(path) for path in banks])
    shelf = Shelf(seen, torch.device(device))
    told = [Told.of(photo) for photo in read_flickr8k(data, "train")]
    encode = cached(Tokenizer.from_file(start.tokenizer_file).encode)
    recipe = AnswerRecipe(
        steps=steps,
        decay_steps=decay_steps,
        batch_tokens=batch_tokens,
        learning_rate=learning_rate,
        seed=seed,
    )
    branch = new_branch(start.model, seed=seed, dropout=dropout)
    if shipped:
        assert start.model.answer is not None
        branch.load_state_dict(start.model.answer.state_dict())
    training = AnswerRun(branch, recipe, run, shelf)
    if training.is_new and not shipped:
        _teach(training, seen, told, encode, steps=(thing_steps, frame_steps), seed=seed)
        training.save()
    pools = Pools(
        Quiz(seen, told, seed=seed),
        shelf.layout,
        encode,
        steps=steps,
        batch_tokens=batch_tokens,
        seed=seed,
    )
    run.mkdir(parents=True, exist_ok=True)
    with (run / "answer-log.jsonl").open("a", encoding="utf-8") as log:
        for line in training.fit(pools, until=steps, workers=workers, log_every=log_every):
            log.write(json.dumps(line) + "\n")
            log.flush()
            if line["step"] % save_every < log_every:
                training.save()
    training.save()


def _teach(
    training: AnswerRun,
    seen: Bank,
    told: Sequence[Told],
    encode: Encode,
    *,
    steps: tuple[int, int],
    seed: int,
) -> None:
    """The first lessons: what single frames show."""
    thing_steps, frame_steps = steps
    lessons = {
        "things": teach(training.model.adapter, seen, training.shelf, steps=thing_steps, seed=seed),
        "frames": teach_frames(
            training.model,
            training.heads,
            seen,
            training.shelf,
            told,
            encode,
            steps=frame_steps,
            seed=seed,
        ),
    }
    for name, losses in lessons.items():
        for number, loss in enumerate(losses, start=1):
            if number % 200 == 0:
                typer.echo(f"{name}: step {number}, loss {float(loss):.3f}", err=True)
    training.start_average()


@app.command()
def score(
    data: DataOption,
    run: RunOption,
    banks: BanksOption,
    split: Annotated[Split, typer.Option(help="Photos that the bank was made of.")] = "dev",
    count: Annotated[int, typer.Option(help="Rows of questions.")] = 200,
    most_frames: Annotated[int, typer.Option(help="Frames of a row.")] = 20,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 2,
) -> None:
    """Count the answers that the averaged weights give exactly, by what is asked."""
    torch.set_num_threads(threads)
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    branch = new_branch(start.model, seed=0)
    weights, step = read_averaged(run)
    branch.load_state_dict(weights)
    seen = joined([Bank.load(path) for path in banks])
    quiz = Quiz(seen, [Told.of(photo) for photo in read_flickr8k(data, split)], seed=5)
    rows = [quiz.draw(number, most_frames=most_frames) for number in range(count)]
    encode = cached(Tokenizer.from_file(start.tokenizer_file).encode)
    shelf = Shelf(seen, torch.device(device))
    right = exactness(branch.to(device), [row for row in rows if row.pairs], shelf, encode)
    shares = {kind: [round(share, 3), asked] for kind, (share, asked) in right.items()}
    typer.echo(json.dumps({"step": step, "split": split, "exact": shares}))


@app.command()
def export(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Checkpoint folder.")] = WEIGHTS / DEFAULT_MODEL,
) -> None:
    """Write the averaged weights into the checkpoint, in the place of an older branch."""
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    weights, step = read_averaged(run)
    config, joined_weights, int8 = with_answers(
        start, branch_config(start.config.model.decoder), weights
    )
    digest = save_checkpoint(
        out,
        config,
        joined_weights,
        start.tokenizer_file.read_text(encoding="utf-8"),
        familiarity=start.familiarity,
        int8=int8,
    )
    typer.echo(json.dumps({"step": step, "sha256": digest}))


@app.command()
def measure(
    data: DataOption,
    model: Annotated[str, typer.Option(help="Name or checkpoint folder.")] = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="dev or test.")] = "test",
    slideshows: Annotated[int, typer.Option(help="Of four photos each.")] = 200,
) -> None:
    """Measure how a checkpoint finds held-out photos in slideshows, for the model card."""
    photos = read_flickr8k(data, split)
    values = measure_moments(
        load(model),
        photos,
        read_pixels(data, photos),
        PLAIN_SIZE,
        slideshows=slideshows,
        progress=lambda line: typer.echo(line, err=True),
    )
    typer.echo(json.dumps({"split": split, **values}, indent=2))


def branch_config(decoder: DecoderConfig) -> AnswerConfig:
    """A branch whose blocks are like those of the decoder that captions, and more of them."""
    sizes = DecoderConfig(
        vocabulary=decoder.vocabulary,
        width=decoder.width,
        depth=DEPTH,
        heads=decoder.heads,
        kv_heads=decoder.kv_heads,
        hidden=decoder.hidden,
    )
    return AnswerConfig(
        adapter_hidden=512, decoder=sizes, thumbnails=True, pointer=True, reader=True
    )


@torch.no_grad()
def new_branch(model: SeedVL, *, seed: int, dropout: float = 0.0) -> AnswerBranch:
    """A branch that starts from the captioning one; blocks beyond its depth say little at first."""
    vision, own = model.config.vit.width, model.decoder.blocks
    config = branch_config(model.config.decoder)
    config = replace(config, decoder=replace(config.decoder, dropout=dropout))
    branch = AnswerBranch(vision, config)
    generator = torch.Generator().manual_seed(seed)
    starts = [*own, *repeat(own[-1], DEPTH - len(own))]
    for block, start in zip(branch.decoder.blocks, starts, strict=True):
        block.load_state_dict(start.state_dict())
    for block in branch.decoder.blocks[len(own) :]:
        assert isinstance(block, DecoderBlock)
        block.attention.out.weight.mul_(_FRESH_SCALE)
        block.feed_forward.down.weight.mul_(_FRESH_SCALE)
    branch.decoder.embedding.load_state_dict(model.decoder.embedding.state_dict())
    branch.decoder.norm.load_state_dict(model.decoder.norm.state_dict())
    first = branch.adapter.first
    first.weight[:, :vision] = model.adapter.first.weight
    first.weight[:, vision:].normal_(0.0, 0.02, generator=generator)
    first.bias.copy_(model.adapter.first.bias)
    branch.adapter.second.load_state_dict(model.adapter.second.state_dict())
    assert branch.reader is not None
    nn.init.zeros_(branch.reader.out.weight)
    nn.init.zeros_(branch.reader.out.bias)
    return branch.requires_grad_(True)
