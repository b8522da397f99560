"""The end of a run that failed."""

from evented_agent.execution.attempt import Attempt, Done, Ending
from evented_agent.ledger.records import Finish, Work
from evented_agent.loop import State


async def failed_run(attempt: Attempt, state: State, error: BaseException) -> Done:
    """End the run with *error*; its partial text stays."""
    attempt.close()
    info = {"name": type(error).__name__, "message": str(error)}
    attempt.output.close_all()
    attempt.output.put("error", {"error": info})
    ending = Ending(
        run_id=attempt.task.run_id,
        agent=attempt.agent.id,
        status="failed",
        text=state.text,
        reason="error",
        usage=state.usage,
        error=info,
    )
    await attempt.in_thread(lambda: attempt.process.on_ending(ending))
    finish = Finish("failed", "error", info)
    return Done(Work(chunks=await attempt.output.rest(), finish=finish), failure=error)
