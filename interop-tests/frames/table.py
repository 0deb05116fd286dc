"""All scenarios by name, and their rows in docs/settlement.md."""

import re

import scenarios as s
import scenarios_jms

ALL = [*s.proton(), *s.proton_blocking(), *s.fe2o3(), *s.rhea(), *s.go_amqp(), *scenarios_jms.ROWS]
SCENARIOS = {scenario.name: scenario for scenario in ALL}
assert len(SCENARIOS) == len(ALL), "two scenarios have one name"


def sent(scenario):
    """The dispositions, for people: numbers only where there is more than one delivery, an error without its parts."""
    told = []
    for disposition in scenario.sends:
        which, how, state = re.fullmatch(r"(\S+) (settled|unsettled) (.*)", disposition).groups()
        words = "settled, no state" if state == "(no state)" else f"`{re.sub(r'error=error.*', 'error)', state)}`"
        told.append((which, f"{words}, unsettled" if how == "unsettled" else words))
    several = any(which != "0" for which, _ in told)
    return "; ".join(f"delivery {which}: {words}" if several else words for which, words in told) or "nothing"


def became(scenario):
    """Where the messages are then."""
    texts = [" or ".join(text) if isinstance(text, tuple) else text for text in scenario.becomes]
    texts = [re.sub(r"^dead: (\w+), delivery-count \d+", r"dead letter, reason `\1`", text) for text in texts]
    return "; ".join(texts).replace("gone", "removed").replace("queue, ", "back, ")


def row(scenario):
    """The scenario's line in the guide."""
    return f"| `{scenario.name}` | {scenario.call} | {sent(scenario)} | {became(scenario)} |"
