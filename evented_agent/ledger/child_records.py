"""The record of a child run, which is a part of that of the run that was started.  Does no I/O."""

from dataclasses import replace

from evented_agent.chunks.base import dump_json
from evented_agent.ledger.keys import split_child
from evented_agent.ledger.records import ENDED, Record

#: What a child has from the run that was started.
_INHERITED = ("v", "queue", "resource", "metadata", "updated", "trace")
#: What is its own, as text.
_OWN = ("agent", "acting", "usage", "trace")


def child_record(whole: Record, run_id: str, messages: str) -> Record:
    """The record of the child *run_id* out of that of its tree."""
    branch = run_id.removeprefix(whole.run_id)
    stored = whole.children[run_id]
    tasks = [task for task in whole.tasks if f"{task.branch}~".startswith(f"{branch}~")]
    fields = {name: whole.fields[name] for name in _INHERITED if name in whole.fields}
    fields |= {
        name: str(int(stored[name]))
        for name in ("step", "created", "started", "ended")
        if name in stored
    }
    fields |= {name: str(stored[name]) for name in _OWN if name in stored}
    fields |= {
        "messages": messages,
        "status": status_of(whole, run_id),
        "parent": run_id.rpartition("~")[0],
    }
    if "reason" in stored:
        fields["finish_reason"] = stored["reason"]
    if "error" in stored:
        fields["error"] = dump_json(stored["error"])
    below = {id_: each for id_, each in whole.children.items() if id_.startswith(f"{run_id}~")}
    decided = [each for each in whole.decided if f'"toolCallId":"{branch}/'.encode() in each]
    return replace(
        whole, run_id=run_id, fields=fields, tasks=tasks, children=below, decided=decided
    )


def status_of(whole: Record, run_id: str) -> str:
    """The status of a child: its own, or that of a tree which has ended without it."""
    own = str(whole.children[run_id]["status"])
    if own in ENDED:
        return own
    if whole.fields["status"] in ENDED:
        return whole.fields["status"]
    branch = split_child(run_id)[1]
    below = [task for task in whole.tasks if f"{task.branch}~".startswith(f"{branch}~")]
    waits = [task.state for task in below if task.state != "child"]
    return "suspended" if waits and all(state == "suspended" for state in waits) else "running"


def number_of(run_id: str) -> list[int]:
    """The numbers in a child's id, by which children are ordered."""
    return [int(number) for number in run_id.split("~")[1:]]
