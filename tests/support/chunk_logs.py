"""Logs of runs as engines write them, made up by hypothesis: what translators must bear.

Crashes and resets of both forms, tools, questions to people and their decisions, tools that ask
again, background calls and those that ask, typed answers, sources, retries of failed runs, messages
to runs that are under way, what they put off and cut short, every end.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.codec import decode, encode

USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
Draw = Callable[[st.SearchStrategy[Any]], Any]


class LogBuilder:
    """Appends chunks, numbered, as the scripts do."""

    def __init__(self, run_id: str = "run") -> None:
        self.chunks: list[AnyChunk] = []
        self._run_id = run_id

    @property
    def seq(self) -> int:
        return len(self.chunks)

    def add(self, type_: str, task: str | None = None, **payload: Any) -> int:
        """Append a chunk; its number."""
        seq = self.seq + 1
        stored = encode(type_, task, payload)
        self.chunks.append(decode(seq, f"{seq}-1", self._run_id, stored))
        return seq

    def take_back_last(self) -> None:
        self.chunks.pop()


class _Run:
    """One run, told from its start to where it is now."""

    def __init__(self, draw: Draw) -> None:
        self.log = LogBuilder()
        self._draw = draw
        self._step = 0
        self._attempt = 1
        self._last_call = 0
        self._background: dict[str, tuple[int, str]] = {}
        #: The background call that waits for a person: its number, and what names it.
        self._asking: tuple[int, dict[str, str]] | None = None
        #: The messages that no completed model call has had, and how many there were in all.
        self._inbox: list[str] = []
        self._sent = 0
        #: Calls that a message has put off: the question's number, the call, its kind and step.
        self._put_off: list[tuple[int, dict[str, Any], str, int]] = []
        self._is_cut = False
        self._is_held = False

    def tell(self) -> None:
        self.log.add("start", None, id="agent", input=[{"role": "user", "content": "Hello"}])
        steps = self._draw(st.integers(1, 3))
        while self._one_step(is_last=self._step + 1 >= steps):
            if self._step < steps or self._inbox:
                continue
            if not self._put_off:
                self._finish()
                return
            if not self._wait_for_put_off():
                return

    def _one_step(self, *, is_last: bool) -> bool:
        """False where the log ends in it."""
        self._step += 1
        task = f"{self._step - 1}:end" if self._step > 1 else None
        self.log.add("step-start", task, step=self._step)
        if not self._model():
            return False
        if not self._is_cut and not self._tools(is_last=is_last):
            return False
        return self._finish_step(is_last=is_last and not self._inbox)

    # Messages -------------------------------------------------------------------------------------

    def _perhaps_message(self, *, one_in: int = 6, **how: bool) -> bool:
        """Somebody sends a message, now and then."""
        if self._sent == 3 or self._draw(st.integers(1, one_in)) > 1:
            return False
        self._message(**how)
        return True

    def _message(self, **how: bool) -> None:
        self._sent += 1
        self._is_held = how.get("hold", False)
        self._inbox.append(f"m{self._sent}")
        given = {"messageId": f"m{self._sent}", "input": [{"role": "user", "content": "And?"}]}
        self.log.add("message-queued", None, **given, **how)

    def _apply(self) -> None:
        if self._inbox:
            applied = {"messageIds": list(self._inbox), "step": self._step}
            self.log.add("message-applied", f"{self._step}:model", **applied)

    def _drop(self) -> None:
        """The run ends, and what it leaves is told before."""
        if self._inbox:
            self.log.add("message-dropped", None, messageIds=list(self._inbox), reason="It failed.")
            self._inbox.clear()

    def _cut(self) -> None:
        """A message cuts the model short, in a text or in a call."""
        self._is_cut = True
        task = f"{self._step}:model"
        call = {"toolCallId": self._call_id(), "toolName": "look"}
        is_call = self._draw(st.booleans())
        self.log.add("text-start", task, id=f"txt-{self._step}.cut")
        self.log.add("text-delta", task, id=f"txt-{self._step}.cut", text=self._draw(TEXTS))
        if is_call:
            self.log.add("text-end", task, id=f"txt-{self._step}.cut")
            self.log.add("tool-call-input-streaming-start", task, **call)
            self._deltas(call["toolCallId"], '{"name":"x')
        self._message(interrupt=True)
        if is_call:
            self.log.add("tool-call-dropped", task, **call)
        else:
            self.log.add("text-end", task, id=f"txt-{self._step}.cut")

    def _answer_meanwhile(self, waiting: dict[int, tuple[dict[str, Any], str]]) -> None:
        """A message came, and the step goes on without the calls that wait for people."""
        for number, (call, kind) in waiting.items():
            named = {"toolCallId": call["toolCallId"], "toolName": call["toolName"]}
            self.log.add("tool-call-deferred", None, **named)
            self._put_off.append((number, call, kind, self._step))
        waiting.clear()

    def _wait_for_put_off(self) -> bool:
        """Until a message comes, or one of them is decided; False where neither does."""
        names = [call["toolCallId"] for _, call, _, _ in self._put_off]
        self.log.add("run-waiting", None, **{"for": "people"}, calls=names)
        if self._ends_here():
            return False
        if not self._perhaps_message():
            self._decide_put_off()
        return True

    def _decide_put_off(self) -> None:
        at = self._draw(st.integers(0, len(self._put_off) - 1))
        number, call, kind, step = self._put_off.pop(at)
        named = {"toolCallId": call["toolCallId"], "toolName": call["toolName"]}
        told: dict[str, Any] = {"decision": "answered"}
        if kind == "approval":
            told = {"decision": "approved", "approved": True}
        self.log.add("tool-call-decided", None, **named, **told, number=number)
        task_id = f"run:{call['toolCallId']}"
        task = f"{step}:tool:{call['toolCallId']}"
        self.log.add("background-task-resumed", task, taskId=task_id, **named)
        self._outcome(call, step)

    # A model call ---------------------------------------------------------------------------------

    def _model(self) -> bool:
        """Attempts of a model call, the last of which succeeds; False where the log ends in it."""
        self._attempt, self._is_cut = 1, False
        for _ in range(self._draw(st.integers(0, 2))):
            if not self._lost_attempt():
                return False
            self._attempt += 1
        self._apply()
        seen = len(self._inbox)
        for _ in range(self._draw(st.integers(0, 2))):
            self._part()
            self._perhaps_message()
        if self._put_off and self._draw(st.integers(0, 3)) == 0:
            self._decide_put_off()
        if self._sent < 3 and self._draw(st.integers(0, 7)) == 0:
            self._cut()
        if self._ends_here():
            return False
        del self._inbox[:seen]
        return True

    def _lost_attempt(self) -> bool:
        """What is said and withdrawn; closed first, or left open, or with a pause before."""
        task, first = f"{self._step}:model", self.log.seq + 1
        how = self._draw(st.sampled_from(["closed", "open", "waits", "failed"]))
        self._apply()
        for _ in range(self._draw(st.integers(0, 2))):
            self._part()
        self._decide_background()
        self._perhaps_message()
        if self._draw(st.booleans()):
            self._part(is_open=how == "open")
        has_said = self.log.seq >= first
        if how == "failed":
            return self._retried_failure(task, first)
        if has_said:
            reset = {"step": self._step, "fromSeq": first, "attempt": self._attempt}
            self.log.add("step-reset", task, **reset, reason="crash")
        if how == "waits":
            self.log.add("run-waiting", None, **{"for": "model"}, until="2030-01-01T00:00:00Z")
        return True

    def _retried_failure(self, task: str, first: int) -> bool:
        """The run has failed; somebody has retried it, or not."""
        error = {"name": "ModelError", "message": "away"}
        self._drop()
        if self._draw(st.booleans()):
            self.log.add("error", task, error=error)
            return False
        reset = {"step": self._step, "fromSeq": first, "attempt": self._attempt}
        self.log.add("step-reset", task, **reset, reason="retry", error=error)
        return True

    def _part(self, *, is_open: bool = False) -> None:
        kind = self._draw(st.sampled_from([*["text"] * 4, "reasoning", "input", "other"]))
        if kind == "input":
            self._arguments(is_open=is_open)
            return
        if kind == "other":
            self.log.add("object", f"{self._step}:model", object={"a": 1})
            self.log.add("source", f"{self._step}:model", url="https://a.example")
            return
        name = "txt" if kind == "text" else "rsn"
        id_ = f"{name}-{self._step}.{self._attempt}.{self.log.seq}"
        task = f"{self._step}:model"
        self.log.add(f"{kind}-start", task, id=id_)
        for text in self._draw(st.lists(TEXTS, max_size=3)):
            self.log.add(f"{kind}-delta", task, id=id_, text=text)
        if not is_open:
            self.log.add(f"{kind}-end", task, id=id_)

    def _arguments(self, *, is_open: bool) -> None:
        """Arguments that a model wrote for a call that it never made: it was cut."""
        call = {"toolCallId": self._call_id(), "toolName": "look"}
        self.log.add("tool-call-input-streaming-start", f"{self._step}:model", **call)
        self._deltas(call["toolCallId"], '{"name":"x"}')
        if not is_open:
            end = {"toolCallId": call["toolCallId"]}
            self.log.add("tool-call-input-streaming-end", f"{self._step}:model", **end)

    def _deltas(self, call: str, text: str) -> None:
        cut = self._draw(st.integers(0, len(text)))
        for piece in filter(None, (text[:cut], text[cut:])):
            delta = {"toolCallId": call, "argsTextDelta": piece}
            self.log.add("tool-call-delta", f"{self._step}:model", **delta)

    # Tools ----------------------------------------------------------------------------------------

    def _tools(self, *, is_last: bool) -> bool:
        """Calls of the step and what they come to; False where the log ends among them."""
        if is_last:
            return True
        calls = [self._request() for _ in range(self._draw(st.integers(1, 3)))]
        task = f"{self._step}:model"
        for call in calls:
            end = {"toolCallId": call["toolCallId"]}
            self.log.add("tool-call-input-streaming-end", task, **end)
        for call in calls:
            self.log.add("tool-call", task, **call)
        kinds = [self._draw(st.sampled_from(["runs", "asks", "deferred"])) for _ in calls]
        for call, kind in zip(calls, kinds, strict=True):
            if kind == "deferred":
                self._defer(call)
            elif kind == "runs":
                self._outcome(call)
        self._perhaps_message()
        asking = [call for call, kind in zip(calls, kinds, strict=True) if kind == "asks"]
        return self._people(asking) and not self._ends_here()

    def _request(self) -> dict[str, Any]:
        call = {"toolCallId": self._call_id(), "toolName": self._draw(st.sampled_from("ab"))}
        self.log.add("tool-call-input-streaming-start", f"{self._step}:model", **call)
        arguments = self._draw(st.dictionaries(st.sampled_from("xy"), TEXTS, max_size=2))
        self._deltas(call["toolCallId"], json.dumps(arguments))
        return {**call, "args": arguments}

    def _call_id(self) -> str:
        self._last_call += 1
        return f"call_{self._last_call}"

    def _outcome(self, call: dict[str, Any], step: int | None = None) -> None:
        task = f"{step or self._step}:tool:{call['toolCallId']}"
        named = {"toolCallId": call["toolCallId"], "toolName": call["toolName"]}
        if self._draw(st.booleans()):
            first = self.log.add("tool-output", task, **named, output={"at": 1})
            if self._draw(st.booleans()):
                reset = {"step": step or self._step, "fromSeq": first, "attempt": 1}
                self.log.add("step-reset", task, **reset, **named, reason="crash")
        if self._draw(st.booleans()):
            self.log.add("tool-result", task, **named, result=self._draw(TEXTS))
        else:
            self.log.add("tool-error", task, **named, error={"name": "E", "message": "no"})

    def _defer(self, call: dict[str, Any]) -> None:
        named = {"toolCallId": call["toolCallId"], "toolName": call["toolName"]}
        task_id = f"run:{call['toolCallId']}"
        started = {"taskId": task_id, **named, "args": call["args"]}
        self.log.add("background-task-started", f"{self._step}:model", **started)
        task = f"{self._step}:tool:{call['toolCallId']}"
        self.log.add("background-task-running", task, taskId=task_id, **named)
        self._background[call["toolCallId"]] = (self._step, call["toolName"])
        if self._draw(st.booleans()):
            self._asking = (self._ask(call, "approval"), named)

    def _settle_background(self) -> None:
        self._decide_background()
        for call, (step, tool) in list(self._background.items()):
            if not self._draw(st.booleans()):
                continue
            del self._background[call]
            task, named = f"{step}:tool:{call}", {"toolCallId": call, "toolName": tool}
            done = {"taskId": f"run:{call}", **named, "result": "ready"}
            self.log.add("background-task-completed", task, **done)
            self.log.add("tool-result", task, **named, result="ready")

    def _decide_background(self) -> None:
        """A call in the background is approved while the run goes on."""
        if self._asking is not None:
            number, named = self._asking
            decided = {**named, "decision": "approved", "approved": True, "number": number}
            self.log.add("tool-call-decided", None, **decided)
            self._asking = None

    # People ---------------------------------------------------------------------------------------

    def _people(self, calls: Sequence[dict[str, Any]]) -> bool:
        """Calls that wait, and decisions about some at a time; False where nobody decides."""
        waiting: dict[int, tuple[dict[str, Any], str]] = {}
        for call in calls:
            kind = self._draw(st.sampled_from(["approval", "suspended"]))
            waiting[self._ask(call, kind)] = (call, kind)
        if self._inbox and not self._is_held:
            self._answer_meanwhile(waiting)
        while waiting:
            names = [call["toolCallId"] for call, _ in waiting.values()]
            self.log.add("run-waiting", None, **{"for": "people"}, calls=names)
            if self._draw(st.booleans()) and self._ends_here():
                return False
            hold = self._draw(st.integers(0, 3)) == 3
            if self._perhaps_message(one_in=2, hold=hold):
                if not hold:
                    self._answer_meanwhile(waiting)
                    return True
                self.log.add("run-waiting", None, **{"for": "people"}, calls=names)
            count = self._draw(st.integers(1, len(waiting)))
            chosen = [(number, *waiting.pop(number)) for number in list(waiting)[:count]]
            waiting |= {
                self._ask(call, "suspended"): (call, "suspended") for call in self._decide(chosen)
            }
        return True

    def _ask(self, call: dict[str, Any], kind: str) -> int:
        more = {"suspendPayload": {"question": "Sure?"}} if kind == "suspended" else {}
        task = f"{self._step}:tool:{call['toolCallId']}"
        return self.log.add(f"tool-call-{kind}", task, **call, **more)

    def _decide(
        self, chosen: Sequence[tuple[int, dict[str, Any], str]]
    ) -> Sequence[dict[str, Any]]:
        """Decisions of one request come together; what follows of them after.

        Returns the calls that ask again.
        """
        verdicts = [self._draw(st.booleans()) for _ in chosen]
        for (number, call, kind), is_approved in zip(chosen, verdicts, strict=True):
            named = {"toolCallId": call["toolCallId"], "toolName": call["toolName"]}
            if kind == "suspended":
                self.log.add("tool-call-decided", None, **named, decision="answered", number=number)
                continue
            decision = "approved" if is_approved else "declined"
            decided = {**named, "decision": decision, "approved": is_approved, "number": number}
            self.log.add("tool-call-decided", None, **decided)
            if not is_approved:
                task = f"{self._step}:tool:{call['toolCallId']}"
                self.log.add("tool-output-denied", task, **named, approval={"approved": False})
        asking = []
        for (_, call, kind), is_approved in zip(chosen, verdicts, strict=True):
            if kind == "suspended" and self._draw(st.integers(0, 3)) == 0:
                asking.append(call)
            elif kind == "suspended" or is_approved:
                self._outcome(call)
        return asking

    # Ends -----------------------------------------------------------------------------------------

    def _ends_here(self) -> bool:
        """Whether the log ends in the middle: by an error, an abort, or because it is not over."""
        end: str = self._draw(st.sampled_from([*["goes on"] * 6, "error", "abort", "now"]))
        if end in ("error", "abort"):
            self._drop()
        if end == "error":
            self.log.add("error", None, error={"name": "E", "message": "no"})
        elif end == "abort":
            self.log.add("abort", None, reason="enough")
        return end != "goes on"

    def _finish_step(self, *, is_last: bool) -> bool:
        task = f"{self._step}:end"
        reason = "interrupted" if self._is_cut else "stop" if is_last else "tool-calls"
        done = {"reason": reason, "isContinued": not is_last}
        self.log.add("step-finish", task, step=self._step, stepResult=done, output={"usage": USAGE})
        self._settle_background()
        self._perhaps_message()
        return not self._ends_here()

    def _finish(self) -> None:
        done = {"reason": "stop", "isContinued": False}
        self.log.add("finish", f"{self._step}:end", stepResult=done, output={"usage": USAGE})


@st.composite
def chunk_logs(draw: Draw) -> Sequence[AnyChunk]:
    """The log of a run from its first chunk to where it is now."""
    run = _Run(draw)
    run.tell()
    return run.log.chunks
