"""A report is built in the background while the chat goes on.

    pip install "evented-agent[local]"
    OPENAI_API_KEY=… python examples/background_report.py "the tea trade"

The report is a file of this machine, one chapter after the other. Kill the process in between and
start it again with the same topic: the same run goes on.
"""

import sys
import tempfile
import time
from pathlib import Path

from evented_agent import Agent, ToolContext, create_durable_agent, tool
from evented_agent.chunks import BackgroundTaskOutput

CHAPTERS = ("Beginnings", "Routes", "Prices", "Today")
#: Seconds that a chapter takes.
PACE = 0.5


@tool(background=True, timeout=600)
def compile_report(ctx: ToolContext) -> str:
    """Compile the long report about the topic of this chat; returns where it is."""
    topic = ctx.context["topic"]
    file = Path(tempfile.gettempdir()) / f"{ctx.run_id}.txt"
    lines = [f"A report about {topic}"]
    for chapter in CHAPTERS:
        time.sleep(PACE)
        lines.append(f"{chapter} of {topic}")
        ctx.emit({"chapter": chapter})
    # Whole or not at all: a second attempt writes the same file again.
    file.write_text("\n".join(lines))
    return str(file)


reporter = Agent(
    id="reporter",
    instructions=(
        "You chat about a topic. Start compile_report at once, say that it is being written, and "
        "go on with one interesting fact. When you are told that the report is there, say where."
    ),
    model="openai/gpt-5.5",
    tools=[compile_report],
)


def main(topic: str) -> None:
    durable = create_durable_agent(reporter)
    run_id = f"report-{'-'.join(filter(str.isalnum, topic.split()))}"
    run = durable.stream(
        f"Tell me about {topic}.", run_id=run_id, context={"topic": topic}, until_idle=True
    )
    with run:
        for chunk in run:
            if isinstance(chunk, BackgroundTaskOutput):
                print(f"  [written: {chunk.payload.output['chapter']}]")
            elif chunk.type == "text-delta":
                print(chunk.payload.text, end="", flush=True)
            elif chunk.type == "text-end":
                print()
    # None, where the model has not asked for the report.
    for task in durable.background_tasks(run.run_id):
        print(f"{task.status}: {task.result}")
    durable.close()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "the tea trade")
