"""`python -m training recognition`: videos and the names of their classes."""

from dataclasses import dataclass
from pathlib import Path

from encoder.checkpoints import save_encoder
from encoder.model import MugSTAN
from encoder.presets import create_tokenizer
from training.class_head import ClassHead
from training.data.reader_threads import ReaderThreads
from training.data.train_sets import LABELLED, check_split
from training.engine.distributed import on_first
from training.evaluation.recognition import ActionWatcher
from training.evaluation.retriever import Retriever
from training.tasks.recognition import RecognitionTask
from training.trainee import groups
from training.video_plan import VideoPlan
from training.video_recipe import VideoRecipe, load_video_recipe
from training.video_setup import Setup, set_up

HEADS = ("names", "linear")


@dataclass(frozen=True, kw_only=True)
class RecognitionRecipe(VideoRecipe):
    """The text tower learns nothing here, so recipes name its modules among `frozen`."""

    head: str
    """"names": the features of the classes' names as they are at the start, as in zero-shot recognition; "linear": a
    layer that is learned."""
    head_lr: float = 0.0
    """Peak of the linear head's learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self.dataset, self.split, LABELLED)
        if self.head not in HEADS:
            raise ValueError(f"unknown head '{self.head}'. Known heads: {', '.join(HEADS)}.")
        if (self.head == "linear") != (self.head_lr > 0):
            raise ValueError(
                f"expected a head_lr above 0 for the head 'linear' and none for another, got {self.head_lr} for "
                f"'{self.head}'."
            )


def run_recognition(
    recipe_name: str, data: Path, output: Path, *, tower: str | None, init: Path | None, resume: bool
) -> None:
    """Train an encoder on labelled videos; writes output/encoder, a checkpoint folder, with the linear head in it."""
    setup = _set_up(recipe_name, data, tower=tower, init=init)
    task = setup.train(_task, output, resume=resume)
    recipe, encoder = setup.recipe, setup.trainee.encoder

    def save() -> None:
        folder = output / "encoder"
        save_encoder(folder, encoder.eval(), preset=recipe.encoder, num_frames=recipe.num_frames)
        if recipe.head == "linear":
            task.head.save(folder)

    on_first(save)


def plan_recognition(recipe_name: str, data: Path, output: Path, *, tower: str | None, init: Path | None) -> VideoPlan:
    """What run_recognition would do with the same arguments. Nothing is trained or written.

    Raises what run_recognition raises for its recipe, data and start.
    """
    setup = _set_up(recipe_name, data, tower=tower, init=init)
    return VideoPlan(
        setup, _task(setup, ReaderThreads(0), output), see=lambda count: setup.trainee.watch(setup.blank(count))
    )


def head_of(recipe: RecognitionRecipe, encoder: MugSTAN, classes: tuple[str, ...]) -> ClassHead:
    """The head that a training starts with, on the encoder's device."""
    if recipe.head == "linear":
        return ClassHead.linear(classes, encoder.backbone.embed_dim).to(encoder.branch.time_embedding.device)
    reader = Retriever(
        encoder=encoder, tokenize=create_tokenizer(recipe.encoder), num_frames=recipe.num_frames, retrieval_mode="plain"
    )
    features = on_first(lambda: ActionWatcher(retriever=reader).class_features(list(classes)))
    return ClassHead.of_names(classes, features).to(encoder.branch.time_embedding.device)


def _set_up(recipe_name: str, data: Path, *, tower: str | None, init: Path | None) -> Setup[RecognitionRecipe]:
    return set_up("recognition", load_video_recipe(recipe_name, RecognitionRecipe, tower), data, LABELLED, init=init)


def _task(setup: Setup[RecognitionRecipe], threads: ReaderThreads, output: Path) -> RecognitionTask:
    r, trainee = setup.recipe, setup.trainee
    with trainee.at_rest():
        head = head_of(r, trainee.encoder, setup.train_set.classes)
    return RecognitionTask(
        trainee, head, setup.batches(threads, output), setup.to_measure(threads),
        setup.groups(*groups(head, lr=r.head_lr, weight_decay=r.weight_decay)), temperature=r.temperature,
    )  # fmt: skip
