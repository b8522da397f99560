"""The dialogs of ``bfcl-eval``, its simulators, and what playing a dialog by hand comes to."""

import ast
import copy
import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

CATEGORY = "BFCL_v4_multi_turn_base.json"
CODE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
#: What is not compared: a directory's way back, which would never end, the clock, a description.
LEFT_OUT = {"parent", "_last_modified", "_api_description", "_random"}


class Call(NamedTuple):
    """One call of the ground truth."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Dialog:
    """What a person asks turn by turn, and the calls that answer it."""

    id: str
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    questions: tuple[str, ...]
    turns: tuple[tuple[Call, ...], ...]


@cache
def dialogs() -> dict[str, Dialog]:
    """All 200 dialogs by id; the package is installed with ``pip install --no-deps bfcl-eval``."""
    data = files("bfcl_eval") / "data"
    asked = [json.loads(line) for line in (data / CATEGORY).read_text().splitlines()]
    answers = (data / "possible_answer" / CATEGORY).read_text().splitlines()
    truth = {entry["id"]: entry["ground_truth"] for entry in map(json.loads, answers)}
    return {entry["id"]: _dialog(entry, truth[entry["id"]]) for entry in asked}


def _dialog(entry: Mapping[str, Any], truth: list[list[str]]) -> Dialog:
    classes = tuple(entry["involved_classes"])
    return Dialog(
        id=entry["id"],
        classes=classes,
        config=entry["initial_config"],
        questions=tuple(turn[0]["content"] if turn else "" for turn in entry["question"]),
        turns=tuple(tuple(_call(classes, text) for text in turn) for turn in truth),
    )


def _call(classes: tuple[str, ...], text: str) -> Call:
    """Read ``mv(source='a', destination='b')``; arguments by position get their names."""
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    name = ast.unparse(node.func)
    method = getattr(simulator(owner(classes, name)), name)
    names = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    by_position = {
        parameter: ast.literal_eval(value)
        for parameter, value in zip(names, node.args, strict=False)
    }
    by_name = {str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
    return Call(name, by_position | by_name)


@cache
def simulator(name: str) -> type[Any]:
    found: type[Any] = getattr(importlib.import_module(f"{CODE}.{MODULES[name]}"), name)
    return found


def owner(classes: tuple[str, ...], method: str) -> str:
    """Whose method it is; the last class wins, as in the package itself."""
    return next(name for name in reversed(classes) if hasattr(simulator(name), method))


def methods() -> dict[str, inspect.Signature]:
    """Every tool of every simulator."""
    return {
        name: inspect.signature(method)
        for class_name in MODULES
        for name, method in inspect.getmembers(simulator(class_name), inspect.isfunction)
        if not name.startswith("_")
    }


def simulators(dialog: Dialog) -> dict[str, Any]:
    """Fresh simulators in the dialog's initial state."""
    made = {}
    for name in dialog.classes:
        made[name] = simulator(name)()
        if hasattr(made[name], "_load_scenario"):
            made[name]._load_scenario(copy.deepcopy(dialog.config.get(name, {})))
    return made


def apply(dialog: Dialog, instances: Mapping[str, Any], call: Call) -> str:
    """Do one call; an error is a result, as in the package itself."""
    method = getattr(instances[owner(dialog.classes, call.name)], call.name)
    try:
        # Simulators keep, and later change, the lists they are given.
        return str(method(**copy.deepcopy(call.arguments)))
    except Exception as error:  # noqa: BLE001 - whatever a simulator raises
        return f"Error during execution: {error}"


def played(dialog: Dialog) -> dict[str, Any]:
    """The state after calling the simulators directly."""
    instances = simulators(dialog)
    for turn in dialog.turns:
        for call in turn:
            apply(dialog, instances, call)
    return {name: plain(instance) for name, instance in instances.items()}


def plain(value: Any) -> Any:
    """The public state of a simulator as plain data, to compare."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__") and type(value).__module__.startswith("bfcl_eval"):
        return {key: plain(item) for key, item in vars(value).items() if key not in LEFT_OUT}
    return repr(value)
