"""What the model server of the documentation answers, by words of the last thing that was asked."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.examples.model_server import Call, ModelServer, Piece

Answers = Sequence[Sequence[Piece]]


def call(tool: str, **arguments: Any) -> Call:
    return Call(tool, json.dumps(arguments))


ANSWERS: Mapping[str, Answers] = {
    "Where is order 7?": [
        [call("order_status", order_id=7)],
        ["Order 7 was shipped ", "this morning."],
    ],
    "Refund order 7.": [[call("refund", order_id=7)], ["Order 7 is refunded."]],
    "Delete old logs.": [
        [call("delete_records", table="logs", older_than_days=30)],
        ["Old logs are deleted."],
    ],
    "What time is it on the server?": [[call("clock_now")], ["It is late."]],
    "Book LH 400.": [[call("book", flight="LH 400")], ["You have seat 7."]],
    "Pay Ann.": [[call("pay", to="Ann")], ["Ann is paid."]],
    "Write me the report.": [[call("compile_report", topic="tea")], ["It is being written."]],
    "Read this:": [[json.dumps({"number": 7, "total": 12.5})]],
}


class Teller(ModelServer):
    """Answers what the documentation asks; whatever else, with "Very well."."""

    def _pieces(self, body: Any) -> Sequence[Piece]:
        items: list[Any] = body["input"]
        asked = [at for at, item in enumerate(items) if item.get("role") == "user"]
        question = json.dumps(items[asked[-1]], ensure_ascii=False)
        rounds = sum(item.get("type") == "function_call_output" for item in items[asked[-1] :])
        for words, answers in ANSWERS.items():
            if words in question:
                return answers[min(rounds, len(answers) - 1)]
        return ["Very well."]
