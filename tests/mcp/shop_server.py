"""A shop as an MCP server, with the official SDK: ``shop_server.py FOLDER [PORT]``.

What it did is written into files of FOLDER, so that tests see it across processes; a file there can
change what it offers.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import mcp_types
from mcp.server.mcpserver import Elicit, Image, MCPServer, Resolve
from pydantic import BaseModel

FOLDER = Path(sys.argv[1])
READS = mcp_types.ToolAnnotations(read_only_hint=True)
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
    b"\x1f\x15\xc4\x89"
)
server = MCPServer("shop")


class Delivery(BaseModel):
    """Where to deliver."""

    street: str
    floor: int


def mark(name: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def ask_where(item: str) -> Elicit[Delivery]:
    return Elicit(f"Where to deliver the {item}?", Delivery)


@server.tool(annotations=READS)
def price(item: str) -> dict[str, int]:
    """Tell the price of an item."""
    mark("price")
    return {"price": len(item)}


@server.tool()
def buy(item: str) -> str:
    """Buy an item."""
    mark("buy")
    return f"Bought: {item}"


@server.tool()
def deliver(item: str, place: Annotated[Delivery, Resolve(ask_where)]) -> str:
    """Deliver an item."""
    mark("deliver")
    return f"{item} goes to {place.street}, floor {place.floor}"


@server.tool()
def picture() -> list[str | Image]:
    """Show the shop."""
    return ["The shop:", Image(data=PIXEL, format="png")]


@server.tool()
def fail() -> str:
    """Fail."""
    mark("fail")
    raise ValueError("The till is locked.")


@server.tool()
def environment() -> dict[str, str]:
    """Tell the environment."""
    return dict(os.environ)


def blocks(name: str) -> str:
    """Wait until the test lets it go on, the second time not at all."""
    mark(name)
    while len((FOLDER / name).read_text().split()) == 1:
        # The condition is a file that the test writes to.
        time.sleep(0.02)
    return "done"


@server.tool(annotations=READS)
def slow_read() -> str:
    """Read slowly."""
    return blocks("slow_read")


@server.tool()
def slow_write() -> str:
    """Write slowly."""
    return blocks("slow_write")


@server.tool()
def die() -> str:
    """Take the server down, the first time."""
    mark("die")
    if len((FOLDER / "die").read_text().split()) == 1:
        os._exit(1)
    return "alive"


def new_price(item: str, currency: str) -> str:
    """Tell the price of an item in a currency."""
    return f"{len(item)} {currency}"


def main() -> None:
    mark("started")
    if (FOLDER / "changed").exists():
        server.remove_tool("price")
        server.remove_tool("buy")
        server.add_tool(new_price, name="price")
    if len(sys.argv) > 2:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run()


if __name__ == "__main__":
    main()
