"""docs/settlement.md says what the scenarios show: neither more nor less."""

import re

from programs import CLIENTS, PROGRAMS, ROOT
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


def test_versions_are_the_pinned_ones():
    pins = {
        "python-qpid-proton": (ROOT / "interop-tests/proton/requirements.txt", r"python-qpid-proton==(\S+)"),
        "fe2o3-amqp": (ROOT / "interop-tests/Cargo.toml", r'fe2o3-amqp = "=(\S+)"'),
        "rhea": (CLIENTS / "rhea/package.json", r'"rhea": "(\S+)"'),
        "go-amqp": (CLIENTS / "go-amqp/go.mod", r"go-amqp v(\S+)"),
        "Qpid JMS": (CLIENTS / "qpid-jms/pom.xml", r"qpid-jms-client</artifactId>\s*<version>(\S+)</version>"),
    }
    pinned = {f"{name} {re.search(pattern, file.read_text())[1]}" for name, (file, pattern) in pins.items()}
    assert pinned == {program.library.split(",")[0] for program in PROGRAMS.values()}


def test_the_guide_names_the_versions_that_were_captured():
    libraries = {program.library.split(",")[0] for program in PROGRAMS.values()}
    missing = [library for library in libraries if library not in GUIDE]
    assert not missing, f"docs/settlement.md does not say {missing}"
