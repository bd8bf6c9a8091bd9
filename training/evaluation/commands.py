"""What the commands of `python -m training.evaluation` do; each prints its table and returns the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bridge.language_model import LanguageModel
from training.data.benchmarks.video_chatgpt import ASPECTS
from training.data.datasets.clips import missing_media
from training.data.items import Item
from training.engine.files import write_text
from training.evaluation import compare as comparing
from training.evaluation import merge as merging
from training.evaluation import retrieval as retrieving
from training.evaluation.aspects import aspect_prompt_hash, aspects_identity, judge_aspects
from training.evaluation.benchmarks import Benchmark, benchmark_by_name
from training.evaluation.confusion import write_confusion
from training.evaluation.judge import EndpointJudge, Judge, LocalJudge
from training.evaluation.recognition import ActionWatcher
from training.evaluation.rejudge import judge_file
from training.evaluation.report import table
from training.evaluation.run import RunConfig, UsageError, items_hash, run
from training.evaluation.scorer import ModelScorer

API_KEY = "JUDGE_API_KEY"
"""Environment variable with the key of a judge behind a URL."""
DEFAULT_JUDGE = "mini"
"""The chat model whose LLM judges, and not that of --model: a judge is the same one for all models."""


def benchmark(args: argparse.Namespace) -> int:
    """Ask, and judge where a judge is named. 1 when every answer of a control failed."""
    found = benchmark_by_name(args.name)
    if (args.rejudge or args.judge_model) and not args.judge:
        raise UsageError("--rejudge and --judge-model need --judge local, or --judge URL with --judge-model NAME.")
    if args.judge not in (None, "local") and not args.judge_model:
        raise UsageError("--judge URL needs --judge-model NAME, the name of the model there.")
    if args.judge_version and args.judge in (None, "local"):
        raise UsageError("--judge-version is for --judge URL: the version of a local judge is the hash of its weights.")
    judge = _make_judge(args) if args.judge else None  # before hours of asking, not after
    code = 0
    if not args.rejudge:
        config = RunConfig(
            data=args.data, model=args.model, output=args.output, controls=args.controls, seed=args.seed,
            letters=args.letters, shard=args.shard,
        )  # fmt: skip
        report = run(found, config, load=ModelScorer.load)
        sys.stdout.write(table(report))
        code = int(any(summary["failed"] == summary["n"] for summary in report.summaries.values()))
    if judge is not None:
        code |= _judge(args, found, judge)
    return code


def _judge(args: argparse.Namespace, found: Benchmark, judge: Judge) -> int:
    """Judge the written answers in the folder; 1 when the judge failed on any."""
    answers = args.output / "answers.jsonl"
    if not answers.exists():
        raise UsageError(f"expected answers to judge in {answers}, found none. Run without --rejudge first.")
    items = list(found.read(args.data))
    known = (args.output / "run.json").exists()
    if known and items_hash(items) != merging.read_run(args.output)["data_sha256"]:
        raise UsageError(f"{args.data} holds other questions than those that {args.output} answers. Restore it.")
    judge_all = _judge_aspects if found.by_aspect else _judge_verdicts
    return judge_all(answers, items, judge)


def _judge_verdicts(answers: Path, items: Sequence[Item], judge: Judge) -> int:
    judged = judge_file(answers, items, judge, answers.parent)
    rows = {control: asdict(summary) for control, summary in judged.items()}
    _write_judged(answers.parent, judge.identity.slug, {"judge": asdict(judge.identity)} | rows)
    lines = [["control", "yes", "mean of 0 to 5", "scored", "unparsed", "failed"]]
    for control, summary in judged.items():
        rates = [_decimals(summary.accuracy), _decimals(summary.mean_score)]
        lines.append([control, *rates, *map(str, (summary.scored, summary.unparsed, summary.failed))])
    _print_judged(judge, lines)
    return int(any(summary.failed for summary in judged.values()))


def _judge_aspects(answers: Path, items: Sequence[Item], judge: Judge) -> int:
    judged = judge_aspects(answers, items, judge, answers.parent)
    hashes = {"prompt_sha256": {aspect: aspect_prompt_hash(aspect) for aspect in ASPECTS}}
    rows = {control: {name: asdict(s) for name, s in aspects.items()} for control, aspects in judged.items()}
    _write_judged(answers.parent, aspects_identity(judge).slug, {"judge": asdict(judge.identity) | hashes} | rows)
    lines = [["control", "aspect", "mean of 0 to 5", "scored", "unparsed", "failed", "unanswered"]]
    for control, aspects in judged.items():
        for name, summary in aspects.items():
            counts = (summary.scored, summary.unparsed, summary.failed, summary.unanswered)
            lines.append([control, name, _decimals(summary.mean_score), *map(str, counts)])
    _print_judged(judge, lines)
    return int(any(summary.failed for aspects in judged.values() for summary in aspects.values()))


def _write_judged(folder: Path, judge: str, content: dict[str, object]) -> None:
    write_text(folder / f"judged-{judge}.json", json.dumps(content, indent=2) + "\n")


def _print_judged(judge: Judge, lines: Sequence[Sequence[str]]) -> None:
    head, *rows = lines
    sys.stdout.write(f"\njudged by {judge.identity.name}\n")
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows)))


def _decimals(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3f}"


def _make_judge(args: argparse.Namespace) -> Judge:
    """The judge that is asked for. Raises ModelError for a local one that cannot be loaded, UsageError for a URL."""
    if args.judge != "local":
        settings = {"version": args.judge_version} if args.judge_version else {}
        try:
            return EndpointJudge(url=args.judge, model=args.judge_model, api_key=os.environ.get(API_KEY), **settings)
        except ValueError as error:
            raise UsageError(f"--judge: {error}") from error
    scorer = ModelScorer.load(args.judge_model or DEFAULT_JUDGE)
    name = f"language model of {args.judge_model or DEFAULT_JUDGE}"
    if scorer.fingerprint() == _model_under_test(args.output):
        name += " (the model under test)"
    model = scorer.model
    return LocalJudge(language_model=LanguageModel(name=name, model=model.llm, tokenizer=model.tokenizer))


def _model_under_test(folder: Path) -> str | None:
    """Hash of the model that answered; None where there are answers without a run."""
    path = folder / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))["model_sha256"] if path.exists() else None


def retrieval(args: argparse.Namespace) -> int:
    """Rank captions by video and videos by caption. 1 when no video could be read."""
    config = retrieving.RetrievalConfig(
        benchmark=args.name, data=args.data, model=args.model, output=args.output, mode=args.mode, dual_softmax=args.dual_softmax,
        seed=args.seed,
    )  # fmt: skip
    summary = retrieving.run(config)
    sys.stdout.write(retrieving.table(summary) + "\n")
    return int(summary.failed == summary.n)


def recognition(args: argparse.Namespace) -> int:
    """Find the class of every video by its name. 1 when every video of a control failed."""
    found = benchmark_by_name(args.name if args.split == 1 else f"{args.name}_split{args.split}")
    videos = found.read(args.data)
    missing_media(args.data if args.data.is_dir() else args.data.parent, videos)
    config = RunConfig(
        data=args.data, model=args.model, output=args.output, controls=args.controls, seed=args.seed, shard=args.shard
    )
    report = run(found, config, load=partial(ActionWatcher.load, views=args.views))
    write_confusion(args.output, videos[0].classes)
    sys.stdout.write(table(report))
    return int(any(summary["failed"] == summary["n"] for summary in report.summaries.values()))


def merge(args: argparse.Namespace) -> int:
    """Join the parts of a run, or sum one up anew."""
    sys.stdout.write(table(merging.merge(args.runs, args.output)))
    return 0


def compare(args: argparse.Namespace) -> int:
    """B minus A, and the questions that flipped."""
    for found in comparing.compare(*args.runs, control=args.control):
        low, high = found.ci95
        sys.stdout.write(
            f"{found.name}: {found.a:.3f} -> {found.b:.3f}, difference {found.difference:+.3f} "
            f"({low:+.3f} to {high:+.3f}), p = {found.p_value:.4f}, n = {found.n}, {len(found.flips)} flipped\n"
        )
        for item, before, after in found.flips:
            sys.stdout.write(f"  {before:.0f} -> {after:.0f}  {item.id}  {_short(item.question)}\n")
    return 0


def _short(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
