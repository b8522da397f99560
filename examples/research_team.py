"""An editor asks three researchers at once; one of them asks before it spends money.

    pip install "evented-agent[local]"
    OPENAI_API_KEY=… python examples/research_team.py "tea or coffee"

Kill the process in between, also while it asks you, and start it again with the same question:
the same run goes on, with what its researchers have found.
"""

import sys

from evented_agent import Agent, RunStream, create_durable_agent, tool
from evented_agent.chunks import child_chunk


@tool(requires_approval=True)
def buy_article(title: str, price: float) -> str:
    """Buy an article of a journal, and return what it says."""
    return f"{title} ({price:.2f} euros): people disagree, and both sides have a point."


def researcher(name: str, about: str) -> Agent:
    return Agent(
        id=name,
        description=f"Knows {about}.",
        instructions=f"You know {about}. Answer in two sentences; buy an article if you must.",
        model="openai/gpt-5.5",
        tools=[buy_article],
    )


editor = Agent(
    id="editor",
    instructions=(
        "Ask all of your researchers about the question, in one step. Then write a paragraph "
        "that weighs what they say."
    ),
    model="openai/gpt-5.5",
    tools=[
        researcher("historian", "how things came about").as_tool(),
        researcher("economist", "what things cost").as_tool(),
        researcher("physician", "what is good for people").as_tool(),
    ],
)


def follow(run: RunStream) -> None:
    """Print who has found what, and what the editor writes."""
    for chunk in run:
        if chunk.type == "child":
            said = child_chunk(chunk)
            if said.type in ("start", "finish"):
                print(f"  [{said.run_id.partition('~')[2]}: {said.type}]")
        elif chunk.type == "text-delta":
            print(chunk.payload.text, end="", flush=True)
        elif chunk.type == "text-end":
            print()


def main(question: str) -> None:
    durable = create_durable_agent(editor)
    run_id = f"team-{'-'.join(filter(str.isalnum, question.split()))}"
    run = durable.stream(f"What is better: {question}?", run_id=run_id)
    follow(run)
    while run.status == "suspended":
        for call in run.pending:
            answer = input(f"{call.agent} wants {call.tool_name}({dict(call.arguments)}). [y/n] ")
            if answer.startswith("y"):
                run.approve(tool_call_id=call.tool_call_id)
            else:
                run.decline(tool_call_id=call.tool_call_id, reason="Too expensive.")
        follow(run)
    print(f"{run.result().usage.total_tokens} tokens, all researchers included")
    durable.close()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "tea or coffee")
