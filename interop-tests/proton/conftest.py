"""Fixtures: a broker per module, a queue name per test, a client per test, the broker's log on failure."""

import os
import re

import pytest

from broker import Broker, ForeignBroker
from client import Client

# Every queue with rules of its own is named here; all the others come into being on attach, with the defaults.
NO_DELAY = 'retry-delay = { first = "0ms", initial = "0ms" }'
CONFIG = f"""
[auth]
anonymous = true

[auth.users]
alice = "secret"

[[queue]]
name = "three-attempts"
max-attempts = 3
{NO_DELAY}

[[queue]]
name = "three-attempts-frozen"
max-attempts = 3
{NO_DELAY}

[[queue]]
name = "many-attempts"
max-attempts = 100
{NO_DELAY}

[[queue]]
name = "slow-retry"
retry-delay = {{ first = "1h", initial = "1h", max = "1h" }}

[[queue]]
name = "short-lived"
max-ttl = "50ms"
expired = "dead-letter"

[[queue]]
name = "full-rejects"
max-messages = 2
when-full = "reject"

[[queue]]
name = "full-blocks"
max-messages = 2
when-full = "block"

[[queue]]
name = "ruled"
rules = [
  {{ name = "timeouts", outcome = "failed", condition = "*timeout*", attempt = "1-2", action = "retry", delay = "short" }},
  {{ name = "too often", outcome = "failed", condition = "*timeout*", class = "permanent" }},
  {{ name = "busy is not final", outcome = "rejected", condition = "app:busy", action = "retry" }},
  {{ name = "final", annotation = "x-final=true", class = "poison" }},
]
delays = {{ short = "300ms" }}

[[queue]]
name = "soon-stranded"
stranded-after = "200ms"

[[queue]]
name = "two-suspects"
crash-suspects = 2
{NO_DELAY}

[[queue]]
name = "buried-elsewhere"
dead-letter-queue = "graveyard"

[[queue]]
name = "once.*"
duplicates = {{ detect = "message-id" }}

[[queue]]
name = "once-by-key"
duplicates = {{ detect = "x-opt-key" }}

[[queue]]
name = "once-for-a-moment"
duplicates = {{ detect = "message-id", window = "50ms" }}

[[queue]]
name = "once-of-two"
duplicates = {{ detect = "message-id", count = 2 }}

[[queue]]
name = "once-and-full"
duplicates = {{ detect = "message-id" }}
max-messages = 1
when-full = "reject"

[[queue]]
name = "grouped.*"
retry-order = "group"
max-attempts = 2
retry-delay = {{ first = "500ms", initial = "500ms", jitter = 0.0 }}
"""


def pytest_configure(config):
    config.brokers = []


def pytest_collection_modifyitems(config, items):
    if os.environ.get("INTEROP_URL"):
        skip = pytest.mark.skip(reason="needs a broker of its own, and INTEROP_URL names a running one")
        for item in items:
            if "own_broker" in item.keywords:
                item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for broker in item.config.brokers:
            report.sections.append((f"log of the broker on port {broker.port}", broker.log_tail()))
    return report


@pytest.fixture
def start_broker(tmp_path_factory, request):
    """Starts brokers of the test's own: start_broker(config=...)."""
    started = []

    def start(config=CONFIG):
        broker = Broker(tmp_path_factory.mktemp("broker"), config)
        started.append(broker)
        request.config.brokers.append(broker)
        return broker.start()

    yield start
    for broker in started:
        broker.close()
        request.config.brokers.remove(broker)


@pytest.fixture(scope="module")
def broker(tmp_path_factory, request):
    """The broker of this module's tests. It must survive every one of them."""
    if os.environ.get("INTEROP_URL"):
        yield ForeignBroker(os.environ["INTEROP_URL"])
        return
    broker = Broker(tmp_path_factory.mktemp("broker"), CONFIG)
    request.config.brokers.append(broker)
    try:
        yield broker.start()
    finally:
        alive = broker.alive()
        broker.close()
        request.config.brokers.remove(broker)
    assert alive, f"the broker died during these tests\n{broker.log_tail()}"


@pytest.fixture
def client(broker):
    client = Client(broker.url)
    yield client
    client.close()


@pytest.fixture
def conn(client):
    """One open connection of the test's client."""
    return client.connect()


@pytest.fixture
def queue(request):
    """A queue that no other test uses: named after the test."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
