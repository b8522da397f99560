"""Folding messages that came while a run was under way."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    UserMessage,
)
from evented_agent.state.decide import was_repaired
from evented_agent.state.fold import INTERRUPTED, State, fold
from evented_agent.state.journal import (
    Decided,
    Dropped,
    Entry,
    Received,
    Result,
    Resumed,
    Suspension,
    Turn,
    dump_entry,
    load_entry,
)


def received(id_: str) -> Received:
    return Received(id_, [UserMessage(content=id_)], by="ann")


def state_of(*entries: Entry) -> State:
    return fold([dump_entry(entry) for entry in entries])


def turn(step: int, seen: int, text: str = "said", reason: str = "stop") -> Turn:
    return Turn(step, [text] if text else [], [], reason, seen=seen)


def said(messages: list[Message]) -> list[str]:
    kinds = (UserMessage, AssistantMessage, SystemMessage)
    return [f"{each.role[0]}:{each.content}" for each in messages if isinstance(each, kinds)]


@dataclass
class Play:
    """A journal as a run writes it, and the requests of its completed model calls."""

    journal: list[Entry] = field(default_factory=list)
    requests: list[list[str]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def send(self) -> None:
        self.sent.append(f"m{len(self.sent)}")
        self.journal.append(received(self.sent[-1]))

    def answer(self, late: int) -> None:
        """A model call that has all there is; so many messages come while it is under way."""
        shown, seen = state_of(*self.journal), len(self.journal)
        for _ in range(late):
            self.send()
        step = len(shown.steps) + 1
        self.requests.append(said(shown.messages()))
        self.journal.append(turn(step, seen, f"a{step}"))
        self.journal.append(Decided(step, "step"))


@given(st.lists(st.one_of(st.just("send"), st.integers(0, 3)), max_size=12))
def test_each_message_is_new_to_one_completed_request_in_order(moves: list[str | int]) -> None:
    play = Play()
    for move in moves:
        if isinstance(move, str):
            play.send()
        else:
            play.answer(move)
    state = state_of(*play.journal)
    taken = [each.id for step in state.steps for each in step.received]
    assert [*taken, *(each.id for each in state.waiting)] == play.sent
    # What a later call is shown begins with what an earlier one was shown: no message moves.
    for earlier, later in zip(play.requests, play.requests[1:], strict=False):
        assert later[: len(earlier)] == earlier
    whole = said(state.messages())
    assert [each for each in whole if each.startswith("u:")] == [f"u:{id_}" for id_ in play.sent]


def test_entries_of_messages_survive_storing() -> None:
    for entry in (received("m"), Received("m", [UserMessage(content="x")]), Dropped(["m"])):
        assert load_entry(dump_entry(entry)) == entry


def test_a_message_stands_before_the_turn_that_had_it_and_behind_the_news_before_it() -> None:
    called = Turn(1, [], [ToolCall(id="c", name="t")], "tool-calls")
    waits = Result(1, "c", "t", "it runs", is_placeholder=True)
    came = Result(1, "c", "t", "done")
    notice = Decided(1, "follow-up", notice="It is done.")
    state = state_of(called, waits, received("m"), came, notice, turn(2, seen=5))
    assert said(state.messages()) == ["a:", "s:It is done.", "u:m", "a:said"]
    assert state.arrived == []


def test_what_was_dropped_is_no_part_of_the_conversation() -> None:
    state = state_of(turn(1, 0), received("m"), received("n"), Dropped(["m", "n"]))
    assert said(state.messages()) == ["a:said"]
    assert [each.id for each in state.dropped] == ["m", "n"]
    again = state_of(turn(1, 0), received("m"), Dropped(["m"]), received("n"), Dropped(["n"]))
    assert [each.id for each in again.dropped] == ["n"]


def test_an_answer_that_was_cut_short_before_its_first_word_is_left_out() -> None:
    cut = turn(1, 0, "", INTERRUPTED)
    state = state_of(cut, received("m"), turn(2, seen=2))
    assert said(state.messages()) == ["u:m", "a:said"]
    kept = state_of(turn(1, 0, "half", INTERRUPTED), received("m"), turn(2, seen=2))
    assert said(kept.messages()) == ["a:half", "u:m", "a:said"]


def test_a_turn_begins_with_an_uncut_answer_to_a_message() -> None:
    first = (turn(1, 0), Decided(1, "step"), received("m"))
    assert state_of(*first).turn_start == 1
    assert state_of(*first).first_of_turn(2) == 2
    assert state_of(*first, turn(2, seen=3)).turn_start == 2
    cut = state_of(*first, turn(2, 3, "half", INTERRUPTED))
    assert cut.turn_start == 1


def test_each_turn_has_a_repair_of_its_own() -> None:
    repaired = (turn(1, 0), Decided(1, "repair", "Again."), turn(2, seen=2))
    assert was_repaired(state_of(*repaired))
    renewed = (*repaired, received("m"), turn(3, seen=4))
    assert not was_repaired(state_of(*renewed))


def test_a_person_is_asked_until_the_call_goes_on_or_ends() -> None:
    called = Turn(1, [], [ToolCall(id="c", name="t")], "tool-calls")
    asked = (called, Suspension(1, "c", 7, "approval"))
    assert state_of(*asked).asking == {"c"}
    waits = Result(1, "c", "t", "it waits", is_placeholder=True)
    assert state_of(*asked, waits).asking == {"c"}
    assert state_of(*asked, Resumed("c", 7, "approval", {"approved": True})).asking == set()
    assert state_of(*asked, Result(1, "c", "t", "done")).asking == set()


def test_a_closed_conversation_keeps_what_users_said_to_silence() -> None:
    silent = turn(2, seen=2, text="")
    state = state_of(turn(1, 0), received("m"), silent)
    assert said(state.closed_messages()) == ["a:said", "u:m"]
