"""One broker for all scenarios, and its log where one fails."""

import pytest

from broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    try:
        yield broker.start()
        assert broker.alive(), f"the broker died\n{broker.log_tail()}"
    finally:
        broker.close()
