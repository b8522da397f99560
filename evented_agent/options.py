"""What a caller may choose for one run.  JSON only: code lives in the agent, on both sides."""

from collections.abc import Mapping
from typing import Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evented_agent.errors import DeclarationError


class RunOptions(BaseModel):
    """Options of one run, as the record keeps them; None means: as the agent declares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_steps: int | None = Field(default=None, ge=1, strict=True)
    tool_choice: Literal["auto", "none", "required"] | dict[Literal["tool"], str] | None = None
    active_tools: list[str] | None = None
    instructions: str | None = None
    model_settings: dict[str, Any] = Field(default_factory=dict)
    tool_call_concurrency: int | None = Field(default=None, ge=1, strict=True)
    require_tool_approval: bool | str | None = None
    stop_when: list[str] = Field(default_factory=list)
    prepare_step: str | None = None
    output_type: str | None = None
    when_busy: Literal["queue", "reject", "interrupt", "parallel"] = "queue"
    until_idle: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    deadline: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    context: Any = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "RunOptions":
        """Check what was passed to `stream`; raises `DeclarationError` for a wrong option."""
        for name, value in given.items():
            if callable(value):
                raise DeclarationError(
                    f"{name}={value!r}: a function cannot travel to a worker. Declare it on the "
                    "Agent, where workers import it too."
                )
        try:
            options = cls(**given)
            options.json()
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise DeclarationError(f"The option {where} is not valid: {problem['msg']}.") from None
        except (TypeError, ValueError) as error:
            raise DeclarationError(f"The options are not JSON: {error}") from None
        return options

    @classmethod
    def load(cls, stored: bytes | str) -> "RunOptions":
        """Read options back from a record."""
        return cls(**pydantic_core.from_json(stored))

    def json(self) -> str:  # type: ignore[override]
        """Return the stored form, stable for equal options."""
        return pydantic_core.to_json(
            self.model_dump(mode="json", exclude_defaults=True), inf_nan_mode="constants"
        ).decode()
