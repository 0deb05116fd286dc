"""Who may come in: PLAIN, ANONYMOUS, and no SASL at all."""

import pytest

from client import Client, ConnectionRefused

REFUSED = "amqp:unauthorized-access"


@pytest.fixture
def enter():
    """Connects, each time with a reactor of its own: proton's does not get over a refused connection."""
    clients = []

    def connect(broker, **options):
        clients.append(Client(broker.url))
        return clients[-1].connect(**options)

    yield connect
    for client in clients:
        client.close()


def test_plain_with_the_right_password(client, queue):
    """Part 5.3.3: SASL outcome 0 (ok) and the connection goes on."""
    conn = client.connect(user="alice", password="secret", allowed_mechs="PLAIN")
    conn.sender(queue).send("x")


@pytest.mark.parametrize("user, password", [("alice", "wrong"), ("nobody", "secret"), ("alice", "secret "), ("ALICE", "secret")])
def test_plain_with_wrong_credentials(client, user, password):
    """Part 5.3.3.6: SASL outcome 1 (auth): connection authentication failed due to credentials."""
    with pytest.raises(ConnectionRefused) as refusal:
        client.connect(user=user, password=password, allowed_mechs="PLAIN")
    assert refusal.value.condition == REFUSED


def test_a_wrong_password_is_no_harm_to_others(client, conn, queue):
    """Part 5.3: authentication concerns one connection."""
    with pytest.raises(ConnectionRefused):
        client.connect(user="alice", password="wrong", allowed_mechs="PLAIN")
    conn.sender(queue).send("x")


def test_anonymous(client, queue):
    """Part 5.3.3.1: ANONYMOUS is among the mechanisms when it is configured, as it is by default."""
    client.connect(allowed_mechs="ANONYMOUS").sender(queue).send("x")


def test_without_sasl(client, queue):
    """Part 2.2: an AMQP header without a SASL layer before it is served on the same port."""
    client.connect(sasl_enabled=False).sender(queue).send("x")


def test_a_mechanism_nobody_offers(broker, enter):
    """Part 5.3.2: no mechanism in common: the client ends its half of the stream, and the broker closes."""
    with pytest.raises(ConnectionRefused) as refusal:
        enter(broker, allowed_mechs="EXTERNAL")
    assert refusal.value.condition == REFUSED
    enter(broker)


@pytest.mark.own_broker
def test_a_broker_that_lets_no_strangers_in(start_broker, enter):
    """config: anonymous = false: neither ANONYMOUS nor a bare AMQP header gets in; PLAIN does."""
    broker = start_broker('[auth]\nanonymous = false\n\n[auth.users]\nalice = "secret"\n')
    with pytest.raises(ConnectionRefused) as refusal:
        enter(broker, allowed_mechs="ANONYMOUS")
    assert refusal.value.condition == REFUSED
    bare = enter(broker, sasl_enabled=False, wait=False)
    bare.client.wait(lambda: bare.remotely_closed or bare.disconnected, "the broker closing the bare connection")
    enter(broker, user="alice", password="secret", allowed_mechs="PLAIN").sender("q").send("x")


@pytest.mark.own_broker
def test_without_any_configuration(start_broker, enter):
    """issue: `verdict serve` with no configuration, and proton just works."""
    conn = enter(start_broker(config=None))
    conn.sender("orders").send("x")
    assert conn.receiver("orders").receive().body == "x"
