"""The benchmarks by name: who reads the files, and what kind of question they ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from training.data.benchmarks import (
    egoschema,
    mvbench,
    nextqa,
    ours,
    recognition,
    tempcompass,
    tgif_qa,
    vcg_qa,
    video_chatgpt,
    video_mme,
)
from training.data.benchmarks.prompts import choice_prompt, open_prompt
from training.data.items import Item
from training.data.questions import SHORT_ANSWER
from training.evaluation.choice import ChoiceExam
from training.evaluation.exam import Exam
from training.evaluation.mixed import MixedExam
from training.evaluation.open_ended import DescribeExam, OpenExam
from training.evaluation.recognition import RecognitionExam
from training.evaluation.scorer import Scorer

MakeExam = Callable[[Scorer | None, bool], Exam]
"""Called with the model, None where answers are only scored, and whether letters are asked for."""
COUNTS_AND_YES_NO = ("DC", "DB")
"""Types of NExT-QA whose answers are right or wrong as a whole."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """`read` takes the path given as --data. `by_aspect`: a judge scores the five aspects of Video-ChatGPT, and not
    whether an answer is right. `unfit`: controls that it cannot be asked under, and what they do."""

    name: str
    read: Callable[[Path], Sequence[Item]]
    exam: MakeExam
    by_aspect: bool = False
    unfit: Mapping[str, str] = field(default_factory=dict)


def choices(style: str) -> MakeExam:
    """Multiple choice; letters are asked for in a published wording (see training.data.benchmarks.prompts)."""
    return lambda scorer, letters: ChoiceExam(scorer=scorer, prompt=partial(choice_prompt, style), ask_letters=letters)


def opens(style: str, **settings: object) -> MakeExam:
    """Open questions in a published wording."""
    return lambda scorer, letters: OpenExam(scorer=scorer, prompt=partial(open_prompt, style), **settings)


def mixed(choice: MakeExam, open_: MakeExam) -> MakeExam:
    """Both kinds in one benchmark."""
    return lambda scorer, letters: MixedExam(choice=choice(scorer, letters), open=open_(scorer, letters))


def short_answer(item: Item) -> str:
    """The wording of our own open questions; training uses it as well."""
    return f"{item.question} {SHORT_ANSWER}"


def tempcompass_choice(item: Item) -> str:
    """TempCompass asks its yes-or-no questions in other words than the rest."""
    yes_no = item.candidates == tempcompass.YES_NO
    return choice_prompt("tempcompass_yes_no" if yes_no else "tempcompass_choice", item)


def is_whole(item: Item) -> bool:
    """Whether NExT-QA scores an item all or nothing."""
    return item.groups.get("type") in COUNTS_AND_YES_NO


BENCHMARKS = (
    Benchmark(name="mcq", read=ours.read_choices, exam=choices("plain")),
    Benchmark(
        name="open_qa", read=ours.read_open,
        exam=lambda scorer, letters: OpenExam(scorer=scorer, prompt=short_answer),
    ),
    Benchmark(
        name="describe", read=ours.read_descriptions, exam=lambda scorer, letters: DescribeExam(scorer=scorer)
    ),
    Benchmark(name="mvbench", read=mvbench.read, exam=choices("mvbench")),
    Benchmark(name="video_mme", read=video_mme.read, exam=choices("video_mme")),
    Benchmark(
        name="video_mme_subtitles", read=partial(video_mme.read, subtitles=True), exam=choices("video_mme")
    ),
    Benchmark(name="nextqa_mc", read=nextqa.read, exam=choices("nextqa_mc")),
    Benchmark(
        name="nextqa_oe", read=partial(nextqa.read, open_ended=True), exam=opens("nextqa_oe", whole_words=is_whole)
    ),
    Benchmark(
        name="activitynet_qa", read=partial(vcg_qa.read, dataset="activitynet_qa"),
        exam=opens("activitynet_qa", max_new_tokens=64),
    ),
    Benchmark(name="msvd_qa", read=partial(vcg_qa.read, dataset="msvd_qa"), exam=opens("plain", max_new_tokens=64)),
    Benchmark(
        name="msrvtt_qa", read=partial(vcg_qa.read, dataset="msrvtt_qa"), exam=opens("plain", max_new_tokens=64)
    ),
    Benchmark(name="tgif_qa", read=tgif_qa.read, exam=mixed(choices("plain"), opens("plain", max_new_tokens=64))),
    Benchmark(
        name="tgif_frameqa", read=partial(vcg_qa.read, dataset="tgif_qa"), exam=opens("plain", max_new_tokens=64)
    ),
    Benchmark(name="egoschema", read=egoschema.read, exam=choices("nextqa_mc")),
    Benchmark(
        name="video_chatgpt", read=video_chatgpt.read, by_aspect=True,
        exam=opens("plain", max_new_tokens=1024, headline=("token_f1",)),
    ),
    Benchmark(
        name="tempcompass", read=tempcompass.read,
        exam=lambda scorer, letters: ChoiceExam(scorer=scorer, prompt=tempcompass_choice, ask_letters=letters),
    ),
    *(
        Benchmark(
            name=name, read=partial(recognition.read, name=name),
            exam=lambda scorer, letters: RecognitionExam(scorer=scorer),
            unfit={"no_video": "leaves nothing to compare with the classes"},
        )
        for name in recognition.READERS
    ),
)  # fmt: skip


def benchmark_by_name(name: str) -> Benchmark:
    """Raises KeyError that lists the known names."""
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    if name not in known:
        raise KeyError(f"unknown benchmark '{name}'. Known benchmarks: {', '.join(known)}.")
    return known[name]
