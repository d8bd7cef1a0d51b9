"""One backtest from the file to the answer: read, decide at every tick, score, write, say."""

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.policies import POLICIES
from replay.backtest.propose import Proposal, propose
from replay.backtest.run import NAME, forecast
from replay.backtest.score import Course, Score, Terms, course, halves, scored
from replay.backtest.trace import Trace, load
from schemas.capacity import Size
from services.forecaster.parameters import DEFAULT
from virtscale.backtesting.asked import Asked, Wanted
from virtscale.backtesting.papers import Names, Papers, as_comment, papers
from virtscale.exits import EXIT_DONE
from virtscale.invocation import UsageError
from virtscale.progress import Progress
from virtscale.replaying.outputs import drafted, require_file, writing
from virtscale.show import say, show, write_json

_PARTS: Final = ("whole", "first half", "second half")


@dataclass(frozen=True, slots=True)
class Ran:
    """What one rule decided on one trace, and how long that took, in seconds."""

    course: Course
    targets: NDArray[np.int64]
    seconds: float
    parameters: str


def rules() -> int:
    """The rules were named."""
    own = {"policy": NAME, "knob": "--coverage", "usual": "99", "what it names": "the forecaster's target"}
    others = [
        {"policy": one.name, "knob": "--knob", "usual": f"{one.usual:g}", "what it names": one.says}
        for one in POLICIES.values()
    ]
    show([own, *others], "table")
    return EXIT_DONE


def run(asked: Asked, wanted: Wanted | None) -> int:
    """The trace was run through and scored; decisions and proposal are written whole or not at all."""
    if asked.policy != NAME and asked.policy not in POLICIES:
        raise UsageError(f"{asked.policy!a:.40} is no policy: there are {', '.join((NAME, *POLICIES))}.")
    rule = POLICIES.get(asked.policy)
    if asked.knob is not None and rule is not None and not rule.least <= asked.knob <= rule.most:
        raise UsageError(
            f"{asked.knob:g} is no knob of {rule.name}: write {rule.least:g} to {rule.most:,.0f}."
        )
    with ExitStack() as files:
        draft = (
            None if asked.decisions is None else files.enter_context(drafted(asked.decisions, asked.trace))
        )
        outlets = (
            None if wanted is None or wanted.into is None else files.enter_context(_outlets(wanted.into))
        )
        trace = _loaded(asked)
        ran = _ran(asked, trace)
        if draft is not None and asked.decisions is not None:
            with writing(asked.decisions):
                draft.write_text(decided(ran), encoding="ascii")
        parts: dict[str, Score] = dict(
            zip(_PARTS, scored(ran.course, ran.targets, *halves(ran.course)), strict=True)
        )
        paper = None
        if wanted is not None:
            paper = _papers(wanted, trace, ran)
            if outlets is not None:
                for path, text in zip(outlets, (paper[1].contract, paper[1].pool), strict=True):
                    with writing(path):
                        path.write_text(text, encoding="utf-8")
    _answer(asked, trace, ran, parts, paper=paper, wanted=wanted)
    return EXIT_DONE


@contextmanager
def _outlets(directory: Path) -> Generator[tuple[Path, Path]]:
    """Drafts of the two files, which must not be there yet."""
    with ExitStack() as files:
        drafts: list[Path] = []
        for name in ("contract.toml", "pool.toml"):
            path = directory / name
            require_file(path)
            if path.exists():
                raise UsageError(f"There is a file {path} already. Nothing was written.")
            drafts.append(files.enter_context(drafted(path)))
        yield drafts[0], drafts[1]


def _loaded(asked: Asked) -> Trace:
    trace = load(asked.trace, asked.step_seconds, column=asked.column, outage_hours=asked.outage_hours)
    if asked.begin is not None or asked.end is not None:
        trace = trace.between(asked.begin, asked.end)
    return trace if asked.average_seconds is None else trace.averaged(asked.average_seconds)


def _ran(asked: Asked, trace: Trace) -> Ran:
    terms = Terms(trace.step_seconds, asked.vms, asked.reserve_bp, asked.teach_days)
    given = course(trace.demand, terms, trace.measured if asked.hold_gaps else None)
    began = time.perf_counter()
    if asked.policy == NAME:
        with Progress("backtest", "ticks") as told:
            [targets] = forecast(
                given,
                [asked.coverage_bp],
                start_seconds=trace.start_seconds,
                horizon_seconds=asked.horizon_seconds,
                told=told,
            )
        parameters = DEFAULT.name()
    else:
        rule = POLICIES[asked.policy]
        knob = rule.usual if asked.knob is None else asked.knob
        targets = np.clip(rule.targets(given, knob), 1, terms.vms)
        parameters = f"{knob:g}"
    return Ran(given, targets, time.perf_counter() - began, parameters)


def decided(ran: Ran) -> str:
    """Every decision as CSV: `t` in whole seconds from the trace's first sample, `target` in VMs."""
    pairs = zip(ran.course.seconds.tolist(), ran.targets.tolist(), strict=True)
    return "t,target\n" + "".join(f"{at},{target}\n" for at, target in pairs)


def _papers(wanted: Wanted, trace: Trace, ran: Ran) -> tuple[Proposal, Papers]:
    proposal = propose(ran.course, ran.targets, days=trace.days)
    size = Size(name="vm", vcpu=wanted.vcpu, memory_mib=wanted.memory_mib)
    names = Names(wanted.org, wanted.pool, size, ascii(trace.name)[:80])
    return proposal, papers(proposal, names, wanted.now)


def _answer(
    asked: Asked,
    trace: Trace,
    ran: Ran,
    parts: dict[str, Score],
    *,
    paper: tuple[Proposal, Papers] | None,
    wanted: Wanted | None,
) -> None:
    speed = trace.days * 86_400 / ran.seconds if ran.seconds > 0 else 0.0
    if asked.json:
        found = asdict(trace.found)
        answer: dict[str, object] = {
            "trace": str(asked.trace),
            "step_seconds": trace.step_seconds,
            "days": round(trace.days, 3),
            "teach_days": asked.teach_days,
            "vms": asked.vms,
            "reserve_vms": ran.course.terms.reserve,
            "policy": asked.policy,
            "parameters": ran.parameters,
            "coverage_bp": asked.coverage_bp if asked.policy == NAME else None,
            "horizon_seconds": asked.horizon_seconds,
            "cap": ran.course.cap,
            **_figures(parts["whole"]),
            "first_half": _figures(parts["first half"]),
            "second_half": _figures(parts["second half"]),
            "decisions": len(ran.targets),
            "gaps_filled": trace.found.gap_samples,
            "found": found,
            "speed": round(speed),
        }
        if paper is not None:
            proposal, written = paper
            answer["proposal"] = {**asdict(proposal), "contract": written.contract, "pool": written.pool}
        write_json(answer)
        return
    for line in _odd(trace):
        say(line)
    rows = [
        {"part": name, **{key: f"{value:.2f}" for key, value in _shown(one).items()}}
        for name, one in parts.items()
    ]
    heading = f"{trace.name}: {trace.days:.1f} days, {asked.vms} VMs of {ran.course.cap:.6g} each, {asked.policy} ({ran.parameters})"
    if paper is None or (wanted is not None and wanted.into is not None):
        say(f"{heading}, {speed:,.0f} x real time")
        show(rows, "table")
    else:
        whole = ", ".join(f"{key} {value:.2f}" for key, value in _shown(parts["whole"]).items())
        say(f"{heading}: {whole}")
    if paper is not None and wanted is not None:
        if wanted.into is None:
            print(paper[1].contract + as_comment(paper[1].pool), end="")
        else:
            say(
                f"{wanted.into}/contract.toml and pool.toml: change what should be otherwise, then sign the first."
            )


def _figures(score: Score) -> dict[str, float]:
    """Percent and points of percent, as docs/prediction.md shows them; units and hits are counts."""
    return {
        "hit": round(100 * score.hit, 4),
        "regret": round(100 * score.regret, 4),
        "short": round(100 * score.short, 5),
        "idle": round(100 * score.idle, 4),
        "oracle_idle": round(100 * score.oracle_idle, 4),
        "units": score.units,
        "hits": score.hits,
    }


def _shown(score: Score) -> dict[str, float]:
    return {
        "hit %": 100 * score.hit,
        "idle regret": 100 * score.regret,
        "short %": 100 * score.short,
        "idle %": 100 * score.idle,
        "oracle idle %": 100 * score.oracle_idle,
    }


def _odd(trace: Trace) -> list[str]:
    """A line for what the file held that had to be decided about, and nothing where all was in order."""
    found = trace.found
    counts = {
        "unreadable": found.unreadable,
        "absent": found.absent,
        "negative": found.negative,
        "of a time that was there already": found.duplicate,
        "out of order": found.out_of_order,
    }
    odd = [f"{count:,} {what}" for what, count in counts.items() if count]
    lines = [f"{trace.name}: of {found.rows:,} rows {', '.join(odd)}."] if odd else []
    if found.gaps:
        lines.append(
            f"{trace.name}: {found.gaps:,} gaps ({found.gap_samples:,} samples, the longest "
            f"{found.longest_gap_seconds:,} s) were filled along a straight line."
        )
    if found.counts_up:
        lines.append(
            f"{trace.name} rises and falls only to begin anew: is it a counter? Then give its rate; as demand it says nothing."
        )
    return lines
