"""Text of MCP servers, made harmless."""

import pytest

from evented_agent.execution.mcp.cleaning import Cleaner

SECRET = "WONDERFUL-TOKEN-1234"


@pytest.mark.parametrize("at", range(80, 101))
def test_a_text_that_is_cut_within_a_secret_shows_no_part_of_it(at: int) -> None:
    text = Cleaner([SECRET]).text(f"{'x' * at}{SECRET}{'!' * 100}", 100)

    assert set(text) <= set("x[secret]!…")
    assert len(text) == 101
