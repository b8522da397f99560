"""Every order of events, in a model of the protocol; and that the model would see a mistake."""

import pytest

from tests.protocol import inbox_explorer, tree_explorer
from tests.protocol.explorer import AS_IT_IS, LEFT_OUT, Rules, explore


@pytest.mark.parametrize("rules", AS_IT_IS.values(), ids=AS_IT_IS.keys())
def test_no_order_of_events_breaks_the_protocol(rules: Rules) -> None:
    found = explore(rules)

    assert found.counter_examples == {}
    assert found.worlds > 1_000


@pytest.mark.parametrize("rules", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_each_protection_is_needed(rules: Rules) -> None:
    assert explore(rules, until_broken=True).counter_examples


@pytest.mark.parametrize("faults", inbox_explorer.AS_IT_IS)
def test_no_order_of_events_loses_a_message(faults: str) -> None:
    found = inbox_explorer.explore(inbox_explorer.AS_IT_IS[faults])

    assert found.counter_examples == {}
    assert found.worlds > 1_000


@pytest.mark.parametrize("protection", inbox_explorer.LEFT_OUT)
def test_each_protection_of_messages_is_needed(protection: str) -> None:
    rules = inbox_explorer.LEFT_OUT[protection]
    assert inbox_explorer.explore(rules, until_broken=True).counter_examples


@pytest.mark.parametrize("faults", tree_explorer.AS_IT_IS)
def test_no_order_of_events_breaks_a_tree_of_runs(faults: str) -> None:
    found = tree_explorer.explore(tree_explorer.AS_IT_IS[faults])

    assert found.counter_examples == {}
    assert found.worlds > 1_000


@pytest.mark.parametrize("protection", tree_explorer.LEFT_OUT)
def test_each_protection_of_a_tree_is_needed(protection: str) -> None:
    rules = tree_explorer.LEFT_OUT[protection]
    assert tree_explorer.explore(rules, until_broken=True).counter_examples
