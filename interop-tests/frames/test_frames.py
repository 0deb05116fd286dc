"""Each scenario: the client sent exactly what the table says, and the message is where the table says."""

import pytest

import stage
from programs import PROGRAMS
from table import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_sends(name, broker):
    scenario = SCENARIOS[name]
    program = PROGRAMS[scenario.client]
    if not program.needs.exists():
        pytest.skip(f"{program.needs.name} is not there; scripts/interop frames builds it")
    run = stage.run(broker, program, scenario, name.replace("/", "."))
    told = f"{name}: {scenario.call}\n{run.output}\nwhat the client sent:\n{run.capture}"

    if scenario.fails:
        assert run.exit_code == 3 and scenario.fails in run.output, told
    else:
        assert run.exit_code == 0, told
        assert run.capture.attach == (scenario.attach or program.attach), told
        assert run.capture.credit == (program.credit if scenario.credit is None else scenario.credit), told
    assert run.capture.dispositions == list(scenario.sends), told
    if scenario.ending is not None:
        assert " ".join(run.capture.ending) == scenario.ending, told
    for became, expected in zip(run.became, scenario.becomes, strict=True):
        assert became in (expected if isinstance(expected, tuple) else (expected,)), told
