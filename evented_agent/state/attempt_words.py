"""Attempts in plain English, for the command line and the console."""

from collections.abc import Sequence

from evented_agent.state.task_attempt import TaskAttempt

_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
#: Why a worker handed an attempt back, as the scripts have it.
_RELEASED = {
    "shutdown": "its worker was stopped",
    "interrupted": "it was interrupted",
    "lost": "Redis had lost chunks of it",
    "newer": "a newer version has to go on with it",
}
_ASKED = {"approval": "asked whether it may run", "crash": "asked what becomes of it"}


def task_words(attempt: TaskAttempt) -> str:
    """What the attempt is one of, as "model call of step 2" or "call of refund in step 2"."""
    child = attempt.run_id.partition("~")[1:]
    return f"{_task(attempt)}{' of child ' if child[0] else ''}{''.join(child)}"


def _task(attempt: TaskAttempt) -> str:
    if attempt.kind == "tool":
        return f"call of {attempt.tool_name or 'a tool'} in step {attempt.step}"
    return {
        "model": f"model call of step {attempt.step}",
        "end": f"end of step {attempt.step}",
        "hook": "hook that tells of a suspension",
        "after": "what follows the run's end",
    }.get(attempt.kind, f"task {attempt.task}")


def outcome_words(attempt: TaskAttempt) -> str:
    """How the attempt ended: "crashed: its lease ran out after 3.0 s"; "" where it has not."""
    took = "" if attempt.seconds is None else f" after {attempt.seconds:.1f} s"
    why = f": {attempt.reason}" if attempt.reason else ""
    if attempt.outcome is None:
        return ""
    if attempt.outcome == "released":
        given = attempt.reason or ""
        return f"was handed back{took}: {_RELEASED.get(given, given or 'nobody said why')}"
    return {
        "committed": f"ended{took}",
        "failed": f"failed its run{took}{why}",
        "suspended": f"{_ASKED.get(attempt.reason or '', 'asked a person')}{took}",
        "spawned": f"began child {attempt.reason}, which answers it",
        "retried": f"failed{took}{why}",
        "waited": f"had to wait for {attempt.reason}" if attempt.reason else "had to wait",
        "crashed": f"crashed: its lease ran out{took}",
        "timed_out": f"timed out{took}",
        "aborted": f"was aborted{took}{why}",
        "cancelled": f"was cancelled{took}{why}",
        "dropped": f"was dropped{took}{why}",
    }.get(attempt.outcome, f"{attempt.outcome}{took}{why}")


def earlier_words(attempt: TaskAttempt, before: TaskAttempt | None) -> str:
    """Which attempt it is, and how the one before it ended, if that is known; "" for the first."""
    if attempt.attempt == 1:
        return ""
    told = f" ({_named(before.attempt)} {outcome_words(before)})" if before is not None else ""
    return f"attempt {attempt.attempt}{told}"


def before_each(attempts: Sequence[TaskAttempt]) -> Sequence[TaskAttempt | None]:
    """For each attempt the one of the same task that is known before it, in the same order."""
    last = dict[tuple[str, str], TaskAttempt]()
    found = list[TaskAttempt | None]()
    for each in attempts:
        task = each.run_id, each.task
        found.append(last.get(task))
        last[task] = each
    return found


def _named(number: int) -> str:
    return f"the {_ORDINALS[number]}" if 0 < number < len(_ORDINALS) else f"attempt {number}"
