"""Tool calls as items of responses: what they are called with, ask, and come to.  Pure."""

from dataclasses import dataclass
from typing import Any

from evented_agent.chunks import ErrorInfo, ToolAskPayload
from evented_agent.chunks.base import dump_json
from evented_agent.web.faces.responses.objects import Json
from evented_agent.web.faces.responses.output import CallItem, OutputItem, ResponseOutput

#: The output of a call that goes to the background, until it has come to something.
_IN_BACKGROUND = "Started in the background; what it comes to follows as another call of this name."


@dataclass(slots=True)
class _Call:
    """A call as far as the log told of it, and its newest item."""

    name: str
    task: str | None
    seq: int
    arguments: str = ""
    item: OutputItem | None = None
    asked: str | None = None
    is_settled: bool = False


class Calls:
    """The calls of a run, over all its responses."""

    def __init__(self, run_id: str, agent: str) -> None:
        self._run_id = run_id
        self._agent = agent
        self._calls: dict[str, _Call] = {}
        self._output = ResponseOutput()

    def begin(self, output: ResponseOutput) -> None:
        """Another response begins; all items of the one before are closed."""
        self._output = output

    def forget(self, task: str | None, from_seq: int) -> None:
        """Calls that a model no longer makes."""
        kept = self._calls.items()
        self._calls = {id_: call for id_, call in kept if call.task != task or call.seq < from_seq}

    def start(self, id_: str, name: str, task: str | None, seq: int) -> list[Json]:
        call = self._calls[id_] = _Call(name, task, seq)
        return self._open(call, task, seq)

    def delta(self, id_: str, text: str) -> list[Json]:
        call = self._calls.get(id_)
        return [] if call is None or call.item is None else self._output.delta(call.item, text)

    def drop(self, id_: str) -> list[Json]:
        """The model was cut short in the call, which is not made."""
        call = self._calls.pop(id_, None)
        if call is None or call.item is None or not call.item.is_open:
            return []
        return self._output.close(call.item, "incomplete")

    def request(
        self, id_: str, name: str, arguments: Json, task: str | None, seq: int
    ) -> list[Json]:
        """The arguments are complete, and the call is about to be made."""
        events = [] if id_ in self._calls else self.start(id_, name, task, seq)
        call = self._calls[id_]
        call.arguments = dump_json(arguments)
        if isinstance(call.item, CallItem) and call.item.is_open:
            events.append(self._output.event(*call.item.written(call.arguments)))
        return events

    def approval(self, ask: ToolAskPayload, task: str | None, seq: int) -> list[Json]:
        """A person is asked whether the call may run."""
        call, events = self._interrupted(ask, task, seq)
        item = {
            "id": f"{self._run_id}:{seq}",
            "type": "mcp_approval_request",
            "server_label": self._agent,
            "name": call.name,
            "arguments": call.arguments,
        }
        call.asked = item["id"]
        return [*events, *self._whole(item, task, seq)]

    def question(self, ask: ToolAskPayload, task: str | None, seq: int) -> list[Json]:
        """A tool asks something: a function call that the client answers."""
        call, events = self._interrupted(ask, task, seq)
        asked = dump_json(ask.suspend_payload)
        item = {
            "id": f"fc_{self._run_id}_{seq}",
            "type": "function_call",
            "call_id": f"{self._run_id}:{seq}",
            "name": call.name,
            "arguments": "",
            "status": "in_progress",
        }
        events += self._output.add(OutputItem, item, task, seq)
        added = self._output.items[-1]
        added.fields = {**item, "arguments": asked}
        written = {"arguments": asked, "name": call.name}
        events.append(
            self._output.event("function_call_arguments.delta", {**added.place, "delta": asked})
        )
        events.append(
            self._output.event("function_call_arguments.done", {**added.place, **written})
        )
        return [*events, *self._output.close(added, "completed")]

    def background(self, id_: str, name: str, task: str | None, seq: int) -> list[Json]:
        """The call goes to the background; the response goes on without it."""
        call = self._known(id_, name, task, seq)
        if call.item is None or not call.item.is_open:
            return []
        return self._close(call.item, "completed", output=_IN_BACKGROUND)

    def result(self, id_: str, name: str, result: Any, task: str | None, seq: int) -> list[Json]:
        text = result if isinstance(result, str) else dump_json(result)
        return self._settle(id_, name, task, seq, "completed", output=text)

    def failure(
        self, id_: str, name: str, error: ErrorInfo, task: str | None, seq: int
    ) -> list[Json]:
        text = f"{error.name}: {error.message}"
        return self._settle(id_, name, task, seq, "failed", error=text)

    def _settle(
        self, id_: str, name: str, task: str | None, seq: int, status: str, **outcome: str
    ) -> list[Json]:
        """What the call came to: in its item, or in another one where that is closed."""
        call = self._known(id_, name, task, seq)
        if call.is_settled:
            return []
        call.is_settled = True
        events = []
        if call.item is None or not call.item.is_open:
            events = self._open(call, task, seq)
        assert call.item is not None
        return [*events, *self._close(call.item, status, **outcome)]

    def _interrupted(
        self, ask: ToolAskPayload, task: str | None, seq: int
    ) -> tuple[_Call, list[Json]]:
        """A person is asked: that much of the call there is in this response."""
        call = self._known(ask.tool_call_id, ask.tool_name, task, seq)
        call.arguments = call.arguments or dump_json(ask.arguments)
        if call.item is None or not call.item.is_open:
            return call, []
        return call, self._close(call.item, "incomplete")

    def _known(self, id_: str, name: str, task: str | None, seq: int) -> _Call:
        return self._calls.setdefault(id_, _Call(name, task, seq))

    def _open(self, call: _Call, task: str | None, seq: int) -> list[Json]:
        item = {
            "id": f"mcp_{self._run_id}_{seq}",
            "type": "mcp_call",
            "server_label": self._agent,
            "name": call.name,
            "arguments": call.arguments,
            "status": "in_progress",
            "output": None,
            "error": None,
            "approval_request_id": call.asked,
        }
        events = self._output.add(CallItem, item, task, seq)
        call.item = self._output.items[-1]
        call.item.pieces = [call.arguments]
        return events

    def _close(self, item: OutputItem, status: str, **outcome: str) -> list[Json]:
        item.fields = {**item.fields, **outcome}
        return self._output.close(item, status)

    def _whole(self, item: Json, task: str | None, seq: int) -> list[Json]:
        events = self._output.add(OutputItem, item, task, seq)
        added = self._output.items[-1]
        added.is_open = False
        done = {"output_index": added.index, "item": dict(item)}
        return [*events, self._output.event("output_item.done", done)]
