"""Training commands of the answer branch: ``python -m seedvideo.training answers --help``.

Separate from `__main__`, which imports it as a subcommand, because it is a recipe of its own. Run
the commands in this order. ``bank`` encodes scenes and photos with a finished checkpoint and caches
the features. ``fit`` trains projector and decoder on questions about them; it can be stopped at any
time and resumes from its last save. ``score`` counts exact answers on a held-out cache. ``export``
writes the branch into the checkpoint. ``measure`` finds photos in slideshows.
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
from seedvideo.training.answer_batches import BucketedBatches, stream_batches
from seedvideo.training.answer_data import PhotoAnnotations
from seedvideo.training.answer_loss import STATE_FILE, AnswerTrainConfig, answer_recipe
from seedvideo.training.answer_questions import QuestionSampler
from seedvideo.training.auxiliary_tasks import (
    FrameLabelHeads,
    pretrain_adapter,
    pretrain_decoder,
)
from seedvideo.training.collate import Encode, cache_encoding
from seedvideo.training.data import PLAIN_SIZE, Split, read_flickr8k, read_pixels
from seedvideo.training.export import add_answer_branch
from seedvideo.training.feature_cache import (
    DeviceFeatureStore,
    FeatureCache,
    build_feature_cache,
    merge_caches,
)
from seedvideo.training.metrics import exact_match_rates, measure_moments
from seedvideo.training.trainer import Trainer, read_averaged, train_and_log

BRANCH_DEPTH = 6
"""Blocks of the branch's decoder: two more than the captioning one."""
_NEW_BLOCK_SCALE = 0.2
"""Initial scale of the added blocks' outputs, so that they change little at first."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

DataOption = Annotated[
    Path, typer.Option(help="Photos and captions; layout in seedvideo/training/data.py.")
]
RunOption = Annotated[Path, typer.Option(help="Folder of the training state.")]
BanksOption = Annotated[
    list[Path], typer.Option("--bank", help="File written by the command bank.")
]
DeviceOption = Annotated[str, typer.Option(help="Device: cpu or cuda.")]
WorkersOption = Annotated[int, typer.Option(help="Worker processes; 0 uses this one.")]
ThreadsOption = Annotated[int, typer.Option(help="Number of torch threads.")]


@app.command("bank")
def build_cache(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="File to write.")],
    split: Annotated[Split, typer.Option(help="Photos: train, dev or test.")] = "train",
    scenes: Annotated[int, typer.Option(help="Number of scenes, with eight events each.")] = 350,
    views: Annotated[int, typer.Option(help="Views per photo.")] = 1,
    moves: Annotated[bool, typer.Option(help="Whether things may move.")] = True,
    seed: int = 1,
    device: DeviceOption = "cpu",
    workers: WorkersOption = 0,
    threads: ThreadsOption = 2,
) -> None:
    """Encode scenes and photos, and cache the features."""
    torch.set_num_threads(threads)
    photos = read_flickr8k(data, split)
    model = load_checkpoint(WEIGHTS / DEFAULT_MODEL).model.to(device)
    made = build_feature_cache(
        model,
        read_pixels(data, photos),
        scenes=scenes,
        views=views,
        seed=seed,
        moves=moves,
        things=[thing for thing in all_coloured_shapes() if thing not in HELD_OUT],
        workers=workers,
        progress=lambda line: typer.echo(line, err=True),
    )
    made.save(out)


@app.command()
def fit(
    data: DataOption,
    run: RunOption,
    cache_files: BanksOption,
    steps: Annotated[int, typer.Option(help="Total number of steps.")] = 7_000,
    decay_steps: Annotated[
        int, typer.Option(help="Steps in which the learning rate decays to 0.")
    ] = 2_400,
    batch_tokens: Annotated[int, typer.Option(help="Approximate positions per step.")] = 2_500,
    learning_rate: float = 1e-3,
    dropout: float = 0.0,
    thing_steps: Annotated[int, typer.Option(help="Steps of pretrain_adapter.")] = 3_000,
    frame_steps: Annotated[int, typer.Option(help="Steps of pretrain_decoder.")] = 4_000,
    seed: int = 1,
    shipped: Annotated[
        bool, typer.Option(help="Start from the shipped branch, without pretraining.")
    ] = False,
    save_every: int = 100,
    log_every: int = 1,
    device: DeviceOption = "cpu",
    workers: WorkersOption = 0,
    threads: ThreadsOption = 2,
) -> None:
    """Train the branch, or resume a stopped training."""
    torch.set_num_threads(threads)
    torch.multiprocessing.set_sharing_strategy("file_system")
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    cache = merge_caches([FeatureCache.load(path) for path in cache_files])
    store = DeviceFeatureStore(cache, torch.device(device))
    annotations = [PhotoAnnotations.of(photo) for photo in read_flickr8k(data, "train")]
    encode = cache_encoding(Tokenizer.from_file(start.tokenizer_file).encode)
    config = AnswerTrainConfig(
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
    heads = FrameLabelHeads(branch.decoder.config.width)
    training = Trainer(answer_recipe(branch, heads, config, store), run)
    if training.is_new and not shipped:
        pretraining_steps = (thing_steps, frame_steps)
        _pretrain(
            branch, heads, cache, store, annotations, encode, steps=pretraining_steps, seed=seed
        )
        training.init_ema()
        training.save()
    pools = BucketedBatches(
        QuestionSampler(cache, annotations, seed=seed),
        store.layout,
        encode,
        steps=steps,
        batch_tokens=batch_tokens,
        seed=seed,
    )
    train_and_log(
        training,
        lambda step: stream_batches(pools, step=step, workers=workers),
        run / "answer-log.jsonl",
        save_every=save_every,
        log_every=log_every,
    )


def _pretrain(
    branch: AnswerBranch,
    heads: FrameLabelHeads,
    cache: FeatureCache,
    store: DeviceFeatureStore,
    annotations: Sequence[PhotoAnnotations],
    encode: Encode,
    *,
    steps: tuple[int, int],
    seed: int,
) -> None:
    """Pretrain on single frames: first the projector, then the lower decoder."""
    thing_steps, frame_steps = steps
    stages = {
        "things": pretrain_adapter(branch.adapter, cache, store, steps=thing_steps, seed=seed),
        "frames": pretrain_decoder(
            branch, heads, cache, store, annotations, encode, steps=frame_steps, seed=seed
        ),
    }
    for name, losses in stages.items():
        for number, loss in enumerate(losses, start=1):
            if number % 200 == 0:
                typer.echo(f"{name}: step {number}, loss {float(loss):.3f}", err=True)


@app.command()
def score(
    data: DataOption,
    run: RunOption,
    cache_files: BanksOption,
    split: Annotated[Split, typer.Option(help="Split of the cached photos.")] = "dev",
    count: Annotated[int, typer.Option(help="Number of sequences.")] = 200,
    max_frames: Annotated[
        int, typer.Option("--most-frames", help="Maximum frames per sequence.")
    ] = 20,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 2,
) -> None:
    """Count the exact answers of the averaged weights, by kind of question."""
    torch.set_num_threads(threads)
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    branch = new_branch(start.model, seed=0)
    weights, step = read_averaged(run / STATE_FILE, torch.device("cpu"))
    branch.load_state_dict(weights)
    cache = merge_caches([FeatureCache.load(path) for path in cache_files])
    quiz = QuestionSampler(
        cache, [PhotoAnnotations.of(photo) for photo in read_flickr8k(data, split)], seed=5
    )
    rows = [quiz.draw(number, max_frames=max_frames) for number in range(count)]
    encode = cache_encoding(Tokenizer.from_file(start.tokenizer_file).encode)
    store = DeviceFeatureStore(cache, torch.device(device))
    right = exact_match_rates(branch.to(device), [row for row in rows if row.pairs], store, encode)
    rates = {kind: [round(rate, 3), count_asked] for kind, (rate, count_asked) in right.items()}
    typer.echo(json.dumps({"step": step, "split": split, "exact": rates}))


@app.command()
def export(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Checkpoint folder.")] = WEIGHTS / DEFAULT_MODEL,
) -> None:
    """Write the averaged weights into the checkpoint, replacing an older branch."""
    start = load_checkpoint(WEIGHTS / DEFAULT_MODEL)
    weights, step = read_averaged(run / STATE_FILE, torch.device("cpu"))
    config, joined_weights, int8 = add_answer_branch(
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
    model: Annotated[str, typer.Option(help="Model name or checkpoint folder.")] = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="Split: dev or test.")] = "test",
    slideshows: Annotated[
        int, typer.Option(help="Number of slideshows, of four photos each.")
    ] = 200,
) -> None:
    """Measure how well a checkpoint finds held-out photos in slideshows, for the model card."""
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
    """Return the sizes of a branch: blocks like those of the captioning decoder, but more."""
    sizes = DecoderConfig(
        vocabulary=decoder.vocabulary,
        width=decoder.width,
        depth=BRANCH_DEPTH,
        heads=decoder.heads,
        kv_heads=decoder.kv_heads,
        hidden=decoder.hidden,
    )
    return AnswerConfig(
        adapter_hidden=512, decoder=sizes, thumbnails=True, pointer=True, reader=True
    )


@torch.no_grad()
def new_branch(model: SeedVL, *, seed: int, dropout: float = 0.0) -> AnswerBranch:
    """Make a branch from the captioning one; added blocks contribute little at first."""
    vision, own = model.config.vit.width, model.decoder.blocks
    config = branch_config(model.config.decoder)
    config = replace(config, decoder=replace(config.decoder, dropout=dropout))
    branch = AnswerBranch(vision, config)
    generator = torch.Generator().manual_seed(seed)
    starts = [*own, *repeat(own[-1], BRANCH_DEPTH - len(own))]
    for block, start in zip(branch.decoder.blocks, starts, strict=True):
        block.load_state_dict(start.state_dict())
    for block in branch.decoder.blocks[len(own) :]:
        assert isinstance(block, DecoderBlock)
        block.attention.out.weight.mul_(_NEW_BLOCK_SCALE)
        block.feed_forward.down.weight.mul_(_NEW_BLOCK_SCALE)
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
