"""What the commands of `python -m training.evaluation` do; each prints its table and returns the exit code."""

import argparse
import json
import os
import sys
from dataclasses import asdict

from bridge import load_chat_model
from bridge.language_model import LanguageModel
from training.evaluation import compare as comparing
from training.evaluation import merge as merging
from training.evaluation import retrieval as retrieving
from training.evaluation.answers import replace
from training.evaluation.benchmarks import Benchmark, benchmark_by_name
from training.evaluation.judge import EndpointJudge, Judge, LocalJudge
from training.evaluation.rejudge import judge_file
from training.evaluation.report import table
from training.evaluation.run import RunConfig, run
from training.evaluation.scorer import ModelScorer

API_KEY = "JUDGE_API_KEY"
"""Environment variable with the key of a judge behind a URL."""


class UsageError(ValueError):
    """Options that do not go together; the message says which."""


def benchmark(args: argparse.Namespace) -> int:
    """Ask, and judge where a judge is named. 1 when every answer failed."""
    found = benchmark_by_name(args.name)
    if args.rejudge and not args.judge:
        raise UsageError("--rejudge needs --judge local, or --judge URL with --judge-model NAME.")
    if args.judge not in (None, "local") and not args.judge_model:
        raise UsageError("--judge URL needs --judge-model NAME, the name of the model there.")
    code = 0
    if not args.rejudge:
        config = RunConfig(
            data=args.data, model=args.model, output=args.output, controls=args.controls, seed=args.seed,
            letters=args.letters, shard=args.shard,
        )  # fmt: skip
        report = run(found, config, load=ModelScorer.load)
        sys.stdout.write(table(report))
        code = int(all(summary["failed"] == summary["n"] for summary in report.summaries.values()))
    if args.judge:
        code |= _judge(args, found)
    return code


def _judge(args: argparse.Namespace, found: Benchmark) -> int:
    """Judge the answers in the folder; 1 when the judge decided nothing."""
    answers = args.output / "answers.jsonl"
    if not answers.exists():
        raise UsageError(f"expected answers to judge in {answers}, found none. Run without --rejudge first.")
    judge = _make_judge(args)
    judged = judge_file(answers, list(found.read(args.data)), judge, args.output)
    rows = {control: asdict(summary) for control, summary in judged.items()}
    text = json.dumps({"judge": asdict(judge.identity)} | rows, indent=2) + "\n"
    replace(args.output / f"judged-{judge.identity.slug}.json", text)
    sys.stdout.write(
        f"\njudged by {judge.identity.name}\n| control | yes | mean of 0 to 5 | scored | unparsed | failed |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for control, summary in judged.items():
        rates = ["" if rate is None else f"{rate:.3f}" for rate in (summary.accuracy, summary.mean_score)]
        counts = (summary.scored, summary.unparsed, summary.failed)
        sys.stdout.write(f"| {control} | {' | '.join(rates)} | {' | '.join(map(str, counts))} |\n")
    return int(not any(summary.scored for summary in judged.values()))


def _make_judge(args: argparse.Namespace) -> Judge:
    if args.judge != "local":
        return EndpointJudge(url=args.judge, model=args.judge_model, api_key=os.environ.get(API_KEY))
    model = load_chat_model(args.model)
    name = f"language model of {args.model}"
    return LocalJudge(language_model=LanguageModel(name=name, model=model.llm, tokenizer=model.tokenizer))


def retrieval(args: argparse.Namespace) -> int:
    """Rank captions by video and videos by caption. 1 when no video could be read."""
    config = retrieving.RetrievalConfig(
        data=args.data, model=args.model, output=args.output, mode=args.mode, dual_softmax=args.dual_softmax,
        seed=args.seed,
    )  # fmt: skip
    summary = retrieving.run(config)
    sys.stdout.write(retrieving.table(summary) + "\n")
    return int(summary.failed == summary.n)


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
