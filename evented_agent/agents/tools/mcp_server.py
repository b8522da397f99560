"""MCP servers as users declare them: a source of tools.  Does not import the MCP SDK."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast
from urllib.parse import urlsplit

from evented_agent.agents.tools.policy import ToolOptions, ToolPolicy
from evented_agent.durations import Duration, as_seconds, is_positive
from evented_agent.errors import DeclarationError
from evented_agent.given import check_names

#: No underscore: the first one in a tool's name ends the server's.
_SERVER_NAME = re.compile(r"[a-zA-Z0-9-]{1,32}")
#: Seconds that a call may take, unless its policy says otherwise.
CALL_TIMEOUT = 300.0
#: What a stdio server gets of its worker's environment, beside what `env` names.
PLAIN_ENVIRONMENT = (
    *("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM"),
    *("TMPDIR", "TZ", "USER"),
)

#: Names of the worker's variables, or names with values, or a function that gives them.
EnvironmentSource = Sequence[str] | Mapping[str, str] | Callable[[], Mapping[str, str]]
#: Headers of each request, or a function that gives them.
HeadersSource = Mapping[str, str] | Callable[[], Mapping[str, str]]


class MCPServer:
    """A server of the Model Context Protocol, whose tools an agent may call.

    Pass it in ``Agent(tools=[…])``. The worker that runs an agent's model or tools connects to it,
    once a process; needs the extra ``mcp``. The model calls its tools ``<name>_<tool>``. Which
    tools there are is asked when a run begins, and kept with the run: all its steps see the same.

    >>> clock = MCPServer("time", command=["uvx", "mcp-server-time"])
    >>> notes = MCPServer("notes", url="https://notes.example/mcp", allow=["search"])

    Attributes:
        name: What its tools' names begin with.
        command: The program that is started, and its arguments; None for a server with a URL.
        url: Where it listens (streamable HTTP); None for a server with a command.
        cwd: The folder that the program is started in; None for the worker's.
        allow: The server's tools that may be called; None for all.
        deny: The server's tools that may not be called.
        connect_timeout: Seconds until it must have answered, when it is connected to.
        show_stderr: Whether what the program writes to its standard error is shown in the worker's.
    """

    name: str
    command: tuple[str, ...] | None
    url: str | None
    cwd: Path | None
    allow: frozenset[str] | None
    deny: frozenset[str]
    connect_timeout: float
    show_stderr: bool

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: EnvironmentSource = (),
        headers: HeadersSource | None = None,
        cwd: str | Path | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
        policies: Mapping[str, ToolOptions] | None = None,
        connect_timeout: Duration = 30.0,
        show_stderr: bool = False,
        **options: Unpack[ToolOptions],
    ) -> None:
        """Check the declaration; `DeclarationError` says what to change.

        Args:
            name: What its tools' names begin with: 1 to 32 ASCII letters, digits and ``-``.
            command: The program to start, and its arguments; no shell sees it.
            url: Where the server listens, ``https:``, or ``http:`` in your own network.
            env: What the program finds in its environment beside PATH, HOME, LANG and the like:
                names of variables of the worker's, a mapping, or a function that returns one.
            headers: What is sent with each request, or a function that returns it; it is asked for
                each request, so that it may renew a token.
            cwd: The folder to start the program in.
            allow: The server's tools that may be called, by its own names; all, unless given.
            deny: The server's tools that may not be called, by its own names.
            policies: `ToolOptions` of single tools, by the server's own names.
            connect_timeout: Seconds, or a timedelta, until it must have answered.
            show_stderr: Show what the program writes to its standard error in the worker's.
            options: `ToolOptions` of all its tools. Two defaults differ from those of `tool`:
                *timeout* is 5 minutes, and *on_crash* is "ask" unless the server says of a tool
                that it only reads, or that repeating it changes nothing: then it is "rerun".
        """
        self.name = name
        called: Any = name
        if not isinstance(called, str) or not _SERVER_NAME.fullmatch(called):
            allowed = "Use 1 to 32 ASCII letters, digits and -."
            raise DeclarationError(f"MCPServer({name!r}): the name is not valid. {allowed}")
        self.command = None if command is None else self._checked_command(command)
        self.url = None if url is None else self._checked_url(url)
        if (self.command is None) == (self.url is None):
            raise self.refusal("pass either command=[…] or url='https://…'.")
        self.cwd = None if cwd is None else Path(cwd)
        self._env, self._headers = env, headers
        self._check_place()
        self.allow = None if allow is None else self._names("allow", allow)
        self.deny = self._names("deny", deny)
        seconds = as_seconds(connect_timeout)
        if not is_positive(seconds):
            raise self.refusal(f"connect_timeout={connect_timeout!r}. Give seconds above 0.")
        self.connect_timeout = seconds
        self.show_stderr = bool(show_stderr)
        self._options, self._policies = options, dict(policies or {})
        self._check_policies()

    def offers(self, tool: str) -> bool:
        """Whether the server's *tool* may be called."""
        return tool not in self.deny and (self.allow is None or tool in self.allow)

    def policy_of(self, tool: str, *, is_repeatable: bool) -> ToolPolicy:
        """How calls of the server's *tool* are run; *is_repeatable* is what the server says."""
        defaults = ToolOptions(timeout=CALL_TIMEOUT, on_crash="rerun" if is_repeatable else "ask")
        given: dict[str, Any] = {**defaults, **self._options, **self._policies.get(tool, {})}
        return ToolPolicy.checked(cast(ToolOptions, given), repr(self), self.refusal)

    def environment(self) -> dict[str, str]:
        """What the program's environment has beside `PLAIN_ENVIRONMENT`, as of now.

        Raises `DeclarationError` where the worker lacks a variable that is named.
        """
        env = self._env() if callable(self._env) else self._env
        if isinstance(env, Mapping):
            return dict(env)
        missing = [name for name in env if name not in os.environ]
        if missing:
            lacks = ", ".join(missing)
            raise self.refusal(f"the worker's environment lacks {lacks}. Set it, or change env=.")
        return {name: os.environ[name] for name in env}

    def headers(self) -> dict[str, str]:
        """What is sent with a request, as of now."""
        return dict(self._headers() if callable(self._headers) else self._headers or {})

    def refusal(self, problem: str) -> DeclarationError:
        """The error that says what is wrong with this declaration."""
        return DeclarationError(f"MCPServer({self.name!r}): {problem}")

    def __repr__(self) -> str:
        # Nothing that may be secret: neither arguments nor a path or query.
        if self.command is not None:
            return f"<MCPServer {self.name}: {Path(self.command[0]).name}>"
        return f"<MCPServer {self.name}: {urlsplit(self.url or '').hostname}>"

    def _checked_command(self, command: Any) -> tuple[str, ...]:
        if (
            isinstance(command, str)
            or not isinstance(command, Sequence)
            or not command
            or not all(isinstance(part, str) and "\0" not in part for part in command)
        ):
            raise self.refusal("pass command as a list of texts: ['program', 'argument'].")
        return tuple(command)

    def _checked_url(self, url: Any) -> str:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.refusal("the url is not valid. Pass https://host/path.")
        if parts.username or parts.password:
            raise self.refusal("the url has a user or a password. Pass them by headers=.")
        return str(url)

    def _check_place(self) -> None:
        if self.command is None and (self._env or self.cwd is not None):
            raise self.refusal("env and cwd are for a command. Pass headers to a URL.")
        if self.url is None and self._headers is not None:
            raise self.refusal("headers are for a URL. Pass env to a command.")
        if isinstance(self._env, str):
            raise self.refusal(f"env={self._env!r}. Pass a list of names, or a mapping.")

    def _names(self, option: str, given: Any) -> frozenset[str]:
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            raise self.refusal(f"{option}={given!r}. Pass a list of the server's own names.")
        return frozenset(given)

    def _check_policies(self) -> None:
        known = set(ToolOptions.__annotations__) - {"isolate"}
        check_names(f"MCPServer({self.name!r})", self._options, known)
        for tool, options in self._policies.items():
            check_names(f"MCPServer({self.name!r}, policies={{{tool!r}: …}})", options, known)
            self.policy_of(tool, is_repeatable=False)
        self.policy_of("", is_repeatable=False)
