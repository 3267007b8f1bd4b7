"""Training commands of the embedded model: ``python -m seedvideo.training --help``.

Run them in this order. ``vocabulary`` learns tokenizer.json from captions. ``fit`` trains; it can
be stopped at any time and resumes when started again. ``score`` computes BLEU and CIDEr-D of a
model in training. ``export`` writes its averaged weights as a checkpoint that seedvideo loads.
``measure`` computes the numbers of the model card. ``answers`` is the recipe of the answer branch.
"""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import torch
import typer

from seedvideo.model import DEFAULT_MODEL, WEIGHTS, load
from seedvideo.model.checkpoint import load_checkpoint, save_checkpoint
from seedvideo.model.metadata import Tokenizer
from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import ConvPatches, ConvStem
from seedvideo.tasks.prompts import CAPTION_PROMPT, SENTENCE_JOINER
from seedvideo.training.answer_cli import app as answers_app
from seedvideo.training.caption_loss import (
    STATE_FILE,
    CaptionTrainConfig,
    caption_recipe,
    draw_batches,
)
from seedvideo.training.data import (
    NAME_PROMPT,
    PLAIN_SIZE,
    PhotoSampler,
    PhotoStore,
    Split,
    make_views,
    normalize_caption,
    read_flickr8k,
    read_object_names,
    read_pixels,
)
from seedvideo.training.export import (
    calibrate,
    fit_ood_detector,
    learn_vocabulary,
    load_pretrained_stem,
    mean_features,
    nano_config,
)
from seedvideo.training.metrics import caption_stills, measure, score_captions
from seedvideo.training.trainer import (
    DistributedContext,
    Trainer,
    read_averaged,
    train_and_log,
)
from seedvideo.utils.timecode import timestamp_text

_VIEW_COUNT = 40
"""Each photo is mirrored in half of the views; sizes alternate."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(answers_app, name="answers")

DataOption = Annotated[
    Path, typer.Option(help="Photos and captions; layout in seedvideo/training/data.py.")
]
RunOption = Annotated[Path, typer.Option(help="Folder of the training state.")]
DeviceOption = Annotated[str, typer.Option(help="Device: cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option(help="Number of torch threads.")]


@app.command()
def vocabulary(data: DataOption, run: RunOption, size: int = 3_600) -> None:
    """Learn the vocabulary from the training captions."""
    texts = [
        normalize_caption(text) for photo in read_flickr8k(data, "train") for text in photo.captions
    ]
    # Repeat names, prompts and times, which are rare in captions.
    texts += 3 * [normalize_caption(photo.captions[0]) for photo in read_object_names(data)]
    texts += 200 * [
        timestamp_text(Fraction(25, 2)),
        CAPTION_PROMPT,
        NAME_PROMPT,
        f"a{SENTENCE_JOINER}a",
    ]
    run.mkdir(parents=True, exist_ok=True)
    learn_vocabulary(texts, run / "tokenizer.json", size=size)


@app.command()
def fit(
    data: DataOption,
    run: RunOption,
    steps: Annotated[int, typer.Option(help="Total number of steps.")] = 6_000,
    decay_steps: Annotated[
        int, typer.Option(help="Steps in which the learning rate decays to 0.")
    ] = 1_500,
    stills: Annotated[int, typer.Option(help="Photos per step.")] = 24,
    learning_rate: float = 1e-3,
    stem_learning_rate: float = 1e-4,
    stem_from_step: Annotated[
        int, typer.Option(help="Step from which the stem is trained.")
    ] = 1_500,
    frozen_blocks: Annotated[
        int, typer.Option(help="First stem blocks, which are never trained.")
    ] = 15,
    dropout: float = 0.1,
    seed: int = 1,
    start: Annotated[
        str | None, typer.Option(help="Model, checkpoint or training to start from.")
    ] = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Folder of a finished training to distil from.")
    ] = None,
    device: DeviceOption = "cpu",
    save_every: int = 250,
    log_every: int = 10,
    threads: ThreadsOption = 1,
) -> None:
    """Train, or resume a stopped training.

    Start several processes that train together with ``torchrun --nproc-per-node N -m
    seedvideo.training fit``.
    """
    torch.set_num_threads(threads)
    if start is not None:
        copy_vocabulary(start, run)
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    photos = read_flickr8k(data, "train") + read_object_names(data)
    config = CaptionTrainConfig(
        steps=steps,
        decay_steps=decay_steps,
        photos_per_step=stills,
        learning_rate=learning_rate,
        stem_learning_rate=stem_learning_rate,
        stem_from_step=stem_from_step,
        frozen_blocks=frozen_blocks,
        seed=seed,
    )
    model = make_model(tokenizer.size, dropout=dropout, seed=seed)
    if start is not None:
        model.load_state_dict(load_start_weights(start))
    torch_device = torch.device(device)
    teachers = [load_averaged_model(folder, torch_device)[0] for folder in teacher or ()]
    distributed = DistributedContext.join(torch_device)
    training = Trainer(caption_recipe(model, config, torch_device, teachers), run, distributed)
    pictures = PhotoStore(read_pixels(data, photos), torch_device)
    views = make_views(len(photos), count=_VIEW_COUNT, seed=seed)
    sampler = PhotoSampler(photos, views, seed=seed)
    train_and_log(
        training,
        lambda step: draw_batches(
            step, config, sampler, pictures, views, tokenizer.encode, distributed
        ),
        run / f"log-{distributed.rank}.jsonl",
        save_every=save_every,
        log_every=log_every,
    )


@app.command()
def score(
    data: DataOption,
    run: RunOption,
    split: Annotated[Split, typer.Option(help="Split: dev or test.")] = "dev",
    count: Annotated[int, typer.Option(help="Number of photos.")] = 1_000,
    beams: int = 32,
    show: Annotated[int, typer.Option(help="Number of captions to print.")] = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
) -> None:
    """Score the averaged weights of a model in training on held-out photos."""
    torch.set_num_threads(threads)
    torch_device = torch.device(device)
    model, tokenizer, step = load_averaged_model(run, torch_device)
    photos = read_flickr8k(data, split)[:count]
    pictures = PhotoStore(read_pixels(data, photos), torch_device)
    captions = caption_stills(model, tokenizer, pictures, beams=beams)
    for caption in captions[:show]:
        typer.echo(caption, err=True)
    scores = score_captions(captions, photos)
    typer.echo(json.dumps({"step": step, "split": split, **asdict(scores)}))


@app.command()
def export(
    data: DataOption,
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Checkpoint folder.")] = WEIGHTS / DEFAULT_MODEL,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
) -> None:
    """Write the averaged weights as a checkpoint, with the out-of-distribution detector."""
    torch.set_num_threads(threads)
    torch_device = torch.device(device)
    model, tokenizer, step = load_averaged_model(run, torch_device)
    learned, known, strange = (
        mean_features(stem_of(model), PhotoStore(read_pixels(data, photos), torch_device))
        for photos in (
            read_flickr8k(data, "train"),
            read_flickr8k(data, "dev"),
            read_object_names(data),
        )
    )
    familiarity = fit_ood_detector(learned)
    calibration = calibrate(familiarity, known, strange)
    typer.echo(json.dumps({"step": step, **asdict(calibration)}))
    sizes = SeedVLConfig.nano(vocabulary=tokenizer.size)
    digest = save_checkpoint(
        out,
        nano_config(sizes, threshold=calibration.threshold),
        {name: value.cpu() for name, value in model.state_dict().items()},
        (run / "tokenizer.json").read_text(encoding="utf-8"),
        familiarity=familiarity.to_tensors(),
    )
    typer.echo(f"{out}: {digest}", err=True)


@app.command("measure")
def measure_command(
    data: DataOption,
    model: Annotated[str, typer.Option(help="Model name or checkpoint folder.")] = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="Split: dev or test.")] = "test",
    count: Annotated[int, typer.Option(help="Number of photos.")] = 1_000,
    size: Annotated[tuple[int, int], typer.Option(help="Height and width in pixels.")] = PLAIN_SIZE,
) -> None:
    """Measure a checkpoint on held-out photos and slideshows, for the model card."""
    photos = read_flickr8k(data, split)[:count]
    values = measure(
        load(model),
        photos,
        read_pixels(data, photos),
        size,
        progress=lambda line: typer.echo(line, err=True),
    )
    typer.echo(json.dumps({"split": split, **values}, indent=2))


def find_checkpoint_folder(name_or_folder: str) -> Path:
    """Return the folder of a shipped model or the given checkpoint folder."""
    shipped = WEIGHTS / name_or_folder
    return shipped if shipped.is_dir() else Path(name_or_folder)


def load_start_weights(start: str) -> dict[str, torch.Tensor]:
    """Load the weights of a shipped model, checkpoint folder, or training (averaged).

    Without those of an answer branch, which has a training of its own.
    """
    folder = find_checkpoint_folder(start)
    if (folder / STATE_FILE).exists():
        return read_averaged(folder / STATE_FILE, torch.device("cpu"))[0]
    weights = load_checkpoint(folder).model.state_dict()
    return {name: value for name, value in weights.items() if not name.startswith("answer.")}


def copy_vocabulary(start: str, run: Path) -> None:
    """Copy the vocabulary of the checkpoint that a training starts from."""
    run.mkdir(parents=True, exist_ok=True)
    text = (find_checkpoint_folder(start) / "tokenizer.json").read_text(encoding="utf-8")
    (run / "tokenizer.json").write_text(text, encoding="utf-8")


def load_averaged_model(run: Path, device: torch.device) -> tuple[SeedVL, Tokenizer, int]:
    """Load the averaged weights of a training as a model, its vocabulary, and its step."""
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    model = SeedVL(SeedVLConfig.nano(vocabulary=tokenizer.size)).to(device)
    weights, step = read_averaged(run / STATE_FILE, device)
    model.load_state_dict(weights)
    model.eval().requires_grad_(False)
    return model, tokenizer, step


def make_model(vocabulary_size: int, *, dropout: float, seed: int) -> SeedVL:
    """Make a nano model with the published stem; initialize everything else."""
    model = SeedVL(SeedVLConfig.nano(vocabulary=vocabulary_size, dropout=dropout))
    initialise(model, seed=seed)
    stem_of(model).load_state_dict(load_pretrained_stem().state_dict())
    return model


def stem_of(model: SeedVL) -> ConvStem:
    """Return the model's convolutional stem.

    Raises:
        TypeError: if it has none.
    """
    if not isinstance(model.vit.patches, ConvPatches):
        raise TypeError("the model has no convolutional stem")
    return model.vit.patches.stem


if __name__ == "__main__":
    app()
