"""docs/settlement.md says what the scenarios show: neither more nor less."""

import re

from programs import PROGRAMS, ROOT
from table import SCENARIOS, row

GUIDE = (ROOT / "docs" / "settlement.md").read_text()
NAMED = re.compile(rf"`((?:{'|'.join(PROGRAMS)})/[a-z-]+)`")


def test_every_scenario_has_its_row():
    lines = GUIDE.splitlines()
    missing = [row(scenario) for scenario in SCENARIOS.values() if row(scenario) not in lines]
    assert not missing, "docs/settlement.md lacks:\n" + "\n".join(missing)


def test_every_scenario_that_is_named_exists():
    unknown = set(NAMED.findall(GUIDE)) - set(SCENARIOS)
    assert not unknown, f"docs/settlement.md names {sorted(unknown)}, which are no scenarios"


def test_no_row_is_told_twice():
    rows = [line.split("`")[1] for line in GUIDE.splitlines() if line.startswith("| `") and NAMED.match(line[2:])]
    assert sorted(rows) == sorted(SCENARIOS)


def test_the_guide_names_the_versions_that_were_captured():
    missing = [program.library.split(",")[0] for program in PROGRAMS.values()
               if program.library.split(",")[0] not in GUIDE]
    assert not missing, f"docs/settlement.md does not say {missing}"
