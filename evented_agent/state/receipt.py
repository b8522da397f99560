"""Where a message went that was sent to a run or a conversation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message; the same for the same message, however often it is sent.

    Attributes:
        message_id: Names the message.
        run_id: The run that answers it.
        number: The `seq` of the `message-queued` chunk in that run; 0 where the message begins it.
        begins_run: Whether the message is the input of a run of its own: the one that it was sent
            to had ended, or the conversation had none.
    """

    message_id: str
    run_id: str
    number: int
    begins_run: bool = False

    @property
    def after(self) -> int:
        """What to pass to `observe` to read the message and what follows it."""
        return max(0, self.number - 1)
