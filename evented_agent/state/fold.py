"""The state of a run, folded from its journal.  Pure: no storage, no models, no clocks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evented_agent.chunks import PARAGRAPH, ErrorInfo, Usage
from evented_agent.models.cost import Cost, cost_of_call, total_cost
from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.state.journal import (
    Decided,
    Dropped,
    Entry,
    History,
    Received,
    Result,
    Resumed,
    Suspension,
    Turn,
    edited_arguments,
    load_entry,
)

#: Why a turn ended that a message has cut short.
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Step:
    """One trip around the loop, as far as the journal tells."""

    turn: Turn
    results: Mapping[str, Result] = field(default_factory=dict)
    decided: Decided | None = None
    deferred: frozenset[str] = frozenset()
    #: What was sent to the run and seen by this step's model call first.
    received: Sequence[Received] = ()

    @property
    def renews(self) -> bool:
        """Whether a turn begins with it: messages came in, and its answer was not cut short."""
        return bool(self.received) and self.turn.reason != INTERRUPTED

    @property
    def number(self) -> int:
        return self.turn.step

    @property
    def open_calls(self) -> Sequence[ToolCall]:
        """Calls without a result, in the model's order."""
        return [call for call in self.turn.calls if call.id not in self.results]

    @property
    def usage(self) -> Usage:
        """The tokens of its model call, and of the child runs that answered its calls."""
        below = (result.usage for result in self.results.values() if result.usage is not None)
        return sum(below, self.turn.usage)

    @property
    def cost(self) -> Cost | None:
        """What its model call and those child runs have cost; None where nothing was priced."""
        own = None if self.turn.cost is None else cost_of_call(self.turn.cost)
        return total_cost([own, *(result.cost for result in self.results.values())])

    def tool_messages(self) -> list[ToolMessage]:
        """What its calls came to, as the model sees it, in the model's order."""
        answered = [call.id for call in self.turn.calls if call.id in self.results]
        return [_tool_message(self.results[id_]) for id_ in answered]


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of a run: its completed steps, the last perhaps with open calls."""

    steps: Sequence[Step] = ()
    history: Sequence[Message] = ()
    #: Deferred calls that came to something which no model call has been shown.
    arrived: Sequence[Result] = ()
    #: Messages that no completed model call has been shown.
    waiting: Sequence[Received] = ()
    #: Messages that the run ended without, the last time that it did.
    dropped: Sequence[Received] = ()
    #: Calls about which a person is asked.
    asking: frozenset[str] = frozenset()

    @property
    def outstanding(self) -> Sequence[Result]:
        """The placeholders of deferred calls that have come to nothing yet."""
        results = (result for step in self.steps for result in step.results.values())
        return [result for result in results if result.is_placeholder]

    @property
    def turn_start(self) -> int:
        """The first step of the turn that is under way: the run's, a follow-up, or a message's."""
        noticed = [step.number for step in self.steps[:-1] if step.decided and step.decided.notice]
        renewed = [step.number for step in self.steps if step.renews]
        return max([1, *(number + 1 for number in noticed[-1:]), *renewed[-1:]])

    def first_of_turn(self, step: int) -> int:
        """The first step of the turn to which *step* belongs, which is under way or comes next."""
        last = self.steps[-1] if self.steps else None
        if last is None or self.waiting:
            return step
        if last.decided is not None and (last.decided.notice or last.decided.agent):
            return step
        handed = [each.number for each in self.steps if each.decided and each.decided.agent]
        if handed and handed[-1] + 1 > self.turn_start:
            return handed[-1] + 1
        return self.turn_start

    def instructions_of(self, step: int) -> str | None:
        """What a function gave for the turn that began with *step*; None where none was asked."""
        found = (each.turn.instructions for each in self.steps if each.number == step)
        return next(found, None)

    @property
    def usage(self) -> Usage:
        return sum((step.usage for step in self.steps), Usage())

    @property
    def cost(self) -> Cost | None:
        """What the calls have cost, those of child runs as well; None where nothing was priced."""
        total = total_cost(step.cost for step in self.steps)
        own = [step.turn.cost for step in self.steps]
        if total is None or all(cost is None for cost in own):
            return total
        return total + Cost(unpriced_calls=own.count(None))

    @property
    def text(self) -> str:
        """All that the agent said; paragraphs are kept apart."""
        return PARAGRAPH.join(step.turn.text for step in self.steps if step.turn.text)

    @property
    def call_ids(self) -> set[str]:
        return {call.id for step in self.steps for call in step.turn.calls}

    def messages(self) -> list[Message]:
        """The conversation since the run's input: turns and results, in the model's order.

        Each message that came meanwhile stands before the first turn that had seen it.
        """
        said: list[Message] = []
        for step in self.steps:
            said.extend(_messages_of(step.received))
            if not _is_cut_to_nothing(step.turn):
                said.append(assistant_message(step.turn))
            said.extend(step.tool_messages())
            if step.decided is not None and step.decided.feedback is not None:
                said.append(UserMessage(content=step.decided.feedback))
            if step.decided is not None and step.decided.notice is not None:
                said.append(SystemMessage(content=step.decided.notice))
        return [*said, *_messages_of(self.waiting)]

    def closed_messages(self) -> list[Message]:
        """`messages`, every call answered: no model takes a conversation with open calls."""
        steps = [replace(step, results=_all_results(step)) for step in self.steps]
        said = [step for step in steps if step.turn.text or step.turn.calls or step.received]
        # Notices are for the run itself; the results that they tell of are in their places.
        return [message for message in State(said).messages() if not _is_left_out(message)]


def fold(entries: Iterable[bytes | str]) -> State:
    """Fold a journal into the state of the run.

    Raises `ValueError` for an entry that is not one of ours; nothing is guessed.
    """
    folding = _Folding()
    for at, stored in enumerate(entries):
        folding.take(at, load_entry(stored))
    return folding.state()


class _Folding:
    """A state taking shape."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._history: Sequence[Message] = ()
        self._arrived: dict[int, Result] = {}
        self._received: dict[int, Received] = {}
        self._dropped: list[Received] = []
        self._asking: set[str] = set()

    def take(self, at: int, entry: Entry) -> None:
        """Take in the entry that stands at *at* in the journal."""
        match entry:
            case History(messages):
                self._history = messages
            case Turn():
                self._add_turn(entry)
            case Result():
                self._answer(at, entry)
            case Suspension() | Resumed():
                self._ask(entry)
            case Received():
                self._received[at] = entry
            case Dropped(ids):
                self._drop(ids)
            case Decided():
                self._steps[-1:] = [replace(step, decided=entry) for step in self._steps[-1:]]

    def state(self) -> State:
        seen = self._steps[-1].turn.seen if self._steps else 0
        arrived = [each for at, each in self._arrived.items() if at >= seen]
        return State(
            steps=tuple(self._steps),
            history=self._history,
            arrived=arrived,
            waiting=tuple(self._received.values()),
            dropped=tuple(self._dropped),
            asking=frozenset(self._asking),
        )

    def _ask(self, entry: Suspension | Resumed) -> None:
        if isinstance(entry, Suspension):
            self._asking.add(entry.call)
            return
        self._asking.discard(entry.call)
        self._steps = [_edited(step, entry) for step in self._steps]

    def _add_turn(self, turn: Turn) -> None:
        seen = [at for at in self._received if at < turn.seen]
        self._steps.append(Step(turn, received=tuple(self._received.pop(at) for at in seen)))

    def _drop(self, ids: Sequence[str]) -> None:
        gone = [at for at, each in self._received.items() if each.id in ids]
        self._dropped = [self._received.pop(at) for at in gone]

    def _answer(self, at: int, result: Result) -> None:
        place = _position(self._steps, result)
        step = self._steps[place]
        before = step.results.get(result.call)
        if before is not None and before.is_placeholder:
            self._arrived[at] = result
        deferred = step.deferred | ({result.call} if result.is_placeholder else set())
        results = {**step.results, result.call: result}
        if not result.is_placeholder:
            self._asking.discard(result.call)
        self._steps[place] = replace(step, results=results, deferred=deferred)


def _messages_of(received: Sequence[Received]) -> list[Message]:
    return [message for each in received for message in each.messages]


def _is_left_out(message: Message) -> bool:
    """Whether no conversation keeps it: a notice, or an answer without a word."""
    if isinstance(message, AssistantMessage):
        return not (message.content or message.tool_calls)
    return isinstance(message, SystemMessage)


def _is_cut_to_nothing(turn: Turn) -> bool:
    """Whether the model was cut short before it had said a word; what it thought is no answer."""
    return turn.reason == INTERRUPTED and not turn.text


def _position(steps: Sequence[Step], result: Result) -> int:
    for at in range(len(steps) - 1, -1, -1):
        if steps[at].number == result.step:
            return at
    raise ValueError(f"The journal has a result of step {result.step} before its turn.")


def _edited(step: Step, resumed: Resumed) -> Step:
    """The step as it went on: a call runs with the arguments with which it was approved."""
    edited = edited_arguments(resumed.data)
    if edited is None or resumed.kind != "approval":
        return step
    calls = [
        call.model_copy(update={"arguments": edited}) if call.id == resumed.call else call
        for call in step.turn.calls
    ]
    return replace(step, turn=replace(step.turn, calls=calls))


def _all_results(step: Step) -> dict[str, Result]:
    why = ErrorInfo(name="RunEnded", message="The run ended before the call was answered.")
    never = {
        call.id: Result(step.number, call.id, call.name, error=why) for call in step.open_calls
    }
    return {**step.results, **never}


def assistant_message(turn: Turn) -> AssistantMessage:
    return AssistantMessage(
        content=turn.text,
        reasoning=turn.reasoning,
        tool_calls=list(turn.calls),
        provider=dict(turn.provider),
    )


def _tool_message(result: Result) -> ToolMessage:
    if result.denied is not None:
        why = f": {result.denied.reason}" if result.denied.reason else "."
        said = f"The call was declined by a person{why}"
        return ToolMessage(tool_call_id=result.call, name=result.name, result=said, is_error=True)
    if result.error is not None:
        said = f"{result.error.name}: {result.error.message}"
        return ToolMessage(tool_call_id=result.call, name=result.name, result=said, is_error=True)
    return ToolMessage(tool_call_id=result.call, name=result.name, result=result.result)
