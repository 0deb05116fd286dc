"""The node $management: docs/management.md, which every test here quotes in its own words."""

import os
import time

import pytest
from proton import Message, symbol, ulong
from proton.reactor import LinkOption

from client import ACCEPTED, PRESETTLED, REJECTED, Client

QUEUE, BROKER, CONNECTION, CONSUMER = "verdict.queue", "verdict.broker", "verdict.connection", "verdict.consumer"
MANAGEMENT = "org.amqp.management"


class AnswersTo(LinkOption):
    """The target's address of a receiving link: the reply-to its answers have."""

    def __init__(self, address):
        self.address = address

    def apply(self, link):
        link.target.address = self.address


class Answer:
    def __init__(self, message):
        self.message = message
        self.properties = message.properties
        self.status = message.properties["statusCode"]
        self.words = message.properties["statusDescription"]
        self.condition = message.properties.get("errorCondition")
        self.body = message.body


class Manager:
    """A requester with a link for its answers, or with a dynamic queue for them."""

    def __init__(self, conn, reply_to="answers", dynamic=False):
        self.conn = conn
        self.sender = conn.sender("$management")
        if dynamic:
            self.receiver = conn.receiver(None, dynamic=True)
            self.reply_to = self.receiver.address
        else:
            self.receiver = conn.receiver("$management", options=[AnswersTo(reply_to)])
            self.reply_to = reply_to
        self.requests = 0

    def message(self, operation, kind=None, name=None, body=None, **properties):
        self.requests += 1
        properties["operation"] = operation
        if kind:
            properties["type"] = kind
        if name is not None:
            properties["name"] = name
        return Message(id=f"request-{self.requests}", reply_to=self.reply_to, properties=properties, body=body)

    def __call__(self, operation, kind=None, name=None, body=None, **properties):
        request = self.message(operation, kind, name, body, **properties)
        state, condition = self.sender.offer(request)
        assert state == ACCEPTED, condition
        answer = self.receiver.receive()
        if not answer.presettled:
            answer.accept()
        assert answer.message.correlation_id == request.id
        assert answer.message.address == self.reply_to
        return Answer(answer.message)

    def read(self, queue):
        answer = self("READ", QUEUE, queue)
        assert answer.status == 200, answer.words
        return answer.body

    def query(self, entity_type, names=(), offset=None, count=None, **body):
        paging = {key: value for key, value in (("offset", offset), ("count", count)) if value is not None}
        answer = self("QUERY", MANAGEMENT, "self", {"attributeNames": list(names), **body}, entityType=entity_type, **paging)
        assert answer.status == 200, answer.words
        rows = [dict(zip(answer.body["attributeNames"], row)) for row in answer.body["results"]]
        assert answer.properties["count"] == len(rows)
        return rows, answer.properties["total"]

    def until(self, what, holds):
        """Asks until the answer is as it should be: what clients do reaches a queue some moments later."""
        deadline = time.monotonic() + 10
        while True:
            got = what()
            if holds(got):
                return got
            assert time.monotonic() < deadline, got


@pytest.fixture
def manage(conn):
    return Manager(conn)


def test_the_broker_says_what_it_is_and_how_it_is(manage):
    answer = manage("READ", BROKER, "self")
    assert (answer.status, answer.words, answer.condition) == (200, "OK", None)
    body = answer.body
    assert set(body) == {"version", "container-id", "uptime-ms", "queues", "connections", "messages", "dead-letters",
                         "disk-bytes", "ready", "unready-reason", "log-level"}
    assert body["ready"] is True and body["unready-reason"] is None
    assert body["connections"] >= 1 and isinstance(body["uptime-ms"], ulong)


def test_what_there_is_to_manage_is_said_by_the_node_itself(manage):
    assert manage("GET-MGMT-NODES", MANAGEMENT).body == ["$management"]
    types = manage("GET-TYPES", MANAGEMENT).body
    assert types[QUEUE] == [] and MANAGEMENT in types
    attributes = manage("GET-ATTRIBUTES", MANAGEMENT, entityType=QUEUE).body
    assert list(attributes) == [QUEUE] and "settings" in attributes[QUEUE]
    operations = manage("GET-OPERATIONS", MANAGEMENT).body
    assert operations[QUEUE]["DELETE"] == ["if-empty", "if-unused"]
    for name in operations[QUEUE]:
        assert name in {"CREATE", "READ", "UPDATE", "DELETE", "PURGE", "BREAKER", "MESSAGES", "EXPLAIN"}


def test_a_queue_is_created_read_changed_and_deleted(manage, conn, queue):
    created = manage("CREATE", QUEUE, queue, {"settings": {"max-attempts": 3, "retry-delay": {"first": "5s"}}})
    assert created.status == 201, created.words
    assert created.body["name"] == queue
    settings = created.body["settings"]
    assert settings["max-attempts"] == 3
    assert settings["retry-delay"] == {"first": "5s", "initial": "100ms", "multiplier": 2.0, "max": "30s", "jitter": 0.2}
    assert settings["when-full"] == "block", "the rest is as the configuration says"
    assert created.body["configured"] is False and created.body["dynamic"] is False

    assert manage("CREATE", QUEUE, queue).status == 409
    changed = manage("UPDATE", QUEUE, queue, {"settings": {"max-attempts": None, "max-messages": 7}})
    assert changed.status == 200, changed.words
    assert changed.body["settings"]["max-attempts"] == 10, "null goes back to the configuration's"
    assert changed.body["settings"]["max-messages"] == 7
    assert manage.read(queue)["settings"] == changed.body["settings"]

    conn.sender(queue).send("one")
    in_use = manage("DELETE", QUEUE, queue)
    assert (in_use.status, in_use.condition) == (409, symbol("amqp:precondition-failed"))
    assert "it holds 1 messages" in in_use.words
    in_use = manage("DELETE", QUEUE, queue, {"if-empty": False})
    assert in_use.status == 409 and "1 publishers" in in_use.words
    end = conn.receiver(queue)
    assert manage("DELETE", QUEUE, queue, {"if-empty": False, "if-unused": False}).status == 204
    assert end.wait_closed().condition == "amqp:resource-deleted"
    gone = manage("READ", QUEUE, queue)
    assert (gone.status, gone.condition) == (404, symbol("amqp:not-found"))


def test_settings_are_in_force_at_once(manage, conn, queue):
    manage("CREATE", QUEUE, queue, {"settings": {"max-attempts": 1}})
    conn.sender(queue).send("x")
    conn.receiver(queue).receive().fail()
    letter = conn.receiver(queue + "/$deadletter").receive()
    assert letter.annotations["x-opt-dl-reason"] == "max-attempts"


def test_settings_are_checked_as_the_configuration_file_is(manage, queue):
    for settings, words in [
        ({"max-attempts": 0}, "settings.max-attempts = 0: expected a whole number from 1 to"),
        ({"max-atempts": 3}, 'settings."max-atempts": unknown setting, expected one of'),
        ({"max-ttl": "soon"}, 'settings.max-ttl = "soon": expected a duration'),
        ({"retry-delay": {"frst": "1s"}}, 'settings.retry-delay.frst: unknown key (did you mean "first"?)'),
        ({"rules": [{"name": "r", "action": "retry", "delay": "no"}]}, 'settings.rules "r".delay = "no": expected'),
        ({"dead-letter-queue": "a/$b"}, "settings.dead-letter-queue"),
    ]:
        answer = manage("CREATE", QUEUE, queue, {"settings": settings})
        assert (answer.status, answer.condition) == (400, symbol("amqp:invalid-field"))
        assert words in answer.words, answer.words
    assert manage("READ", QUEUE, queue).status == 404


def test_dead_letters_do_not_go_in_a_circle(manage, queue):
    a, b = queue + "-a", queue + "-b"
    assert manage("CREATE", QUEUE, a, {"settings": {"dead-letter-queue": b}}).status == 201
    answer = manage("CREATE", QUEUE, b, {"settings": {"dead-letter-queue": a}})
    assert answer.status == 400 and f"{b} -> {a} -> {b}" in answer.words


def test_a_name_that_cannot_be_a_queue_is_refused(manage):
    for name in ["a/$deadletter", "$x", "queue://x", "verdict.dynamic.1"]:
        answer = manage("CREATE", QUEUE, name)
        assert answer.status == 400, (name, answer.words)


def test_a_queues_numbers_are_told(manage, conn, queue):
    conn.sender(queue).send("a", "b", "c")
    receiver = conn.receiver(queue)
    receiver.receive().reject("app:no")
    receiver.receive()
    body = manage.until(lambda: manage.read(queue), lambda body: body["dead"] == 1)
    assert (body["ready"], body["acquired"], body["dead"]) == (1, 1, 1)
    assert (body["published"], body["delivered"], body["rejected"], body["dead-lettered"]) == (3, 2, 1, 1)
    assert (body["publishers"], body["consumers"]) == (1, 1)
    assert body["bytes"] > 0 and body["dead-bytes"] > 0
    assert (body["breaker"], body["breaker-until"]) == ("closed", None)


def test_a_purge_removes_what_waits_and_nothing_else(manage, conn, queue):
    conn.sender(queue).send(*(str(n) for n in range(10)))
    receiver = conn.receiver(queue)
    receiver.receive().reject("app:no")
    held = receiver.receive()
    manage.until(lambda: manage.read(queue), lambda body: body["dead"] == 1)
    answer = manage("PURGE", QUEUE, queue)
    assert (answer.status, answer.body) == (200, {"removed": 8})
    held.release()
    assert receiver.receive().body == held.body
    assert manage.read(queue)["dead"] == 1


def test_the_breaker_is_opened_and_closed_by_hand(manage, conn, queue):
    conn.sender(queue).send("x")
    opened = manage("BREAKER", QUEUE, queue, {"state": "open", "for-ms": 3600_000})
    assert (opened.status, opened.body["breaker"]) == (200, "open")
    assert opened.body["breaker-until"] / 1000 > time.time() + 3000
    receiver = conn.receiver(queue)
    assert receiver.drain(1) == []
    closed = manage("BREAKER", QUEUE, queue, {"state": "closed"})
    assert closed.body == {"breaker": "closed", "breaker-until": None}
    assert receiver.receive().body == "x"


def test_queues_are_listed_in_pages_by_name(manage, queue):
    names = [f"{queue}-{n}" for n in range(5)]
    for name in names:
        manage("CREATE", QUEUE, name)
    rows, total = manage.query(QUEUE, ["name", "ready"], queue=f"{queue}-*")
    assert ([row["name"] for row in rows], total) == (names, 5)
    rows, total = manage.query(QUEUE, ["name"], offset=1, count=2, queue=f"{queue}-*")
    assert (rows, total) == ([{"name": names[1]}, {"name": names[2]}], 5)
    rows, _ = manage.query(QUEUE, queue=names[0])
    assert "settings" in rows[0] and rows[0]["name"] == names[0]
    assert manage("QUERY", MANAGEMENT, "self", {"attributeNames": ["size"]}, entityType=QUEUE).status == 400


def test_a_connection_is_seen_and_closed(manage, client):
    other = client.connect()
    other.receiver("seen")
    rows, _ = manage.query(CONNECTION)
    mine = max(rows, key=lambda row: row["id"])
    assert mine["container-id"] == other.conn.container and mine["user"] == "anonymous"
    assert mine["address"].startswith("127.0.0.1:") and mine["opened"] / 1000 > time.time() - 3600
    number = str(int(mine["id"]))
    seen = manage.until(lambda: manage("READ", CONNECTION, number).body, lambda body: body["consumers"] == 1)
    assert seen["publishers"] == 0
    assert manage("DELETE", CONNECTION, number, {"description": "enough"}).status == 204
    client.wait(lambda: other.remotely_closed, "close by the broker")
    condition = other.conn.remote_condition
    assert (condition.name, condition.description) == ("amqp:connection:forced", "enough")
    other.conn.close()
    manage.until(lambda: manage("READ", CONNECTION, number).status, lambda status: status == 404)
    assert manage("READ", CONNECTION, "x").status == 404


def test_a_connection_does_not_close_itself_by_management(manage):
    rows, _ = manage.query(CONNECTION, ["id", "publishers"])
    mine = next(row for row in rows if row["publishers"] == 1)
    answer = manage("DELETE", CONNECTION, str(int(mine["id"])))
    assert answer.status == 409, answer.words


def test_consumers_are_listed(manage, conn, queue):
    conn.sender(queue).send("a", "b")
    receiver = conn.receiver(queue, name="mine", credit=5)
    receiver.receive(2)
    conn.receiver(queue + "/$deadletter", name="letters")
    rows, total = manage.query(CONSUMER, queue=queue)
    assert total == 2
    mine, letters = rows
    assert (mine["link"], mine["queue"], mine["dead-letter"]) == ("mine", queue, False)
    assert (mine["credit"], mine["unsettled"], mine["delivered"]) == (3, 2, 2)
    assert mine["container-id"] == conn.conn.container and mine["user"] == "anonymous"
    assert (mine["browse"], mine["suspect-alone"], mine["filter"]) == (False, False, None)
    assert (letters["link"], letters["dead-letter"]) == ("letters", True)


def test_answers_may_come_to_a_dynamic_queue(conn):
    manage = Manager(conn, dynamic=True)
    assert manage("READ", BROKER, "self").status == 200


def test_answers_come_settled_where_the_receiver_wants_that(conn):
    manage = Manager(conn)
    settled = conn.receiver("$management", options=[AnswersTo("settled"), PRESETTLED])
    request = manage.message("READ", BROKER)
    request.reply_to = "settled"
    assert manage.sender.offer(request)[0] == ACCEPTED
    assert settled.receive().presettled


def test_an_answer_larger_than_a_frame_comes_whole(client, queue):
    conn = client.connect(max_frame_size=512)
    manage = Manager(conn)
    answer = manage("GET-OPERATIONS", MANAGEMENT)
    assert len(answer.message.encode()) > 512 and QUEUE in answer.body


def test_message_ids_of_every_type_come_back(manage):
    import uuid
    for identity in ["text", ulong(7), uuid.uuid4(), b"\x00\x01"]:
        request = manage.message("READ", BROKER)
        request.id = identity
        assert manage.sender.offer(request)[0] == ACCEPTED
        answer = manage.receiver.receive()
        answer.accept()
        assert answer.message.correlation_id == identity
    request.correlation_id = "mine"
    manage.sender.offer(request)
    assert manage.receiver.receive().message.correlation_id == "mine"


def test_what_is_no_request_is_rejected_with_the_reason(manage):
    for request, words in [
        (Message(reply_to="answers", body={}), "operation is missing"),
        (manage.message("READ", BROKER, body="text"), "expected an amqp-value with a map"),
        (Message(properties={"operation": "READ"}, reply_to="nowhere"), "no queue"),
    ]:
        state, condition = manage.sender.offer(request)
        assert state == REJECTED and words in condition.description, condition
    assert manage("READ", BROKER).status == 200, "the link is none the worse for it"


def test_unknown_operations_and_arguments_are_refused(manage, queue):
    answer = manage("DANCE", QUEUE, queue)
    assert (answer.status, answer.condition) == (501, symbol("amqp:not-implemented"))
    assert manage("READ", "verdict.nothing", queue).status == 400
    answer = manage("PURGE", QUEUE, queue, {"force": True})
    assert answer.status == 400 and 'unknown argument "force"' in answer.words


@pytest.mark.own_broker
def test_who_may_not_manage_is_told_so_and_nothing_is_done(start_broker, queue):
    config = '[auth]\nmanagers = ["alice"]\n[auth.users]\nalice = "secret"\n'
    broker = start_broker(config=config)
    client = Client(broker.url)
    try:
        answer = Manager(client.connect())("CREATE", QUEUE, queue)
        assert (answer.status, answer.condition) == (403, symbol("amqp:unauthorized-access"))
        assert 'user "anonymous" may not manage' in answer.words
        alice = Manager(client.connect(user="alice", password="secret"))
        assert alice("READ", QUEUE, queue).status == 404
        broker.config.write_text(config.replace('managers = ["alice"]', 'managers = ["bob", "anon*"]'))
        assert alice("RELOAD", BROKER, "self").status == 200
        assert alice("READ", BROKER, "self").status == 403, "a reload applies to those who are there"
        assert Manager(client.connect())("READ", BROKER, "self").status == 200
        broker.config.write_text("[auth]\nmanagers = 3\n")
        refused = Manager(client.connect())("RELOAD", BROKER, "self")
        assert refused.status == 400 and "auth.managers = 3: expected a list" in refused.words
    finally:
        client.close()


@pytest.mark.own_broker
def test_a_queue_and_its_settings_survive_kill_9_where_nobody_else_may_create(start_broker):
    broker = start_broker(config='create = []\n[[queue]]\nname = "own"\nmax-attempts = 4\n')
    client = Client(broker.url)
    manage = Manager(client.connect())
    assert manage("CREATE", QUEUE, "made", {"settings": {"max-attempts": 2, "breaker": {"at-least": 5}}}).status == 201
    assert manage("UPDATE", QUEUE, "own", {"settings": {"max-ttl": "1h"}}).status == 200
    assert manage("CREATE", QUEUE, "gone").status == 201
    assert manage("DELETE", QUEUE, "gone").status == 204
    broker.kill()
    broker.config.write_text('create = []\n[[queue]]\nname = "own"\nmax-attempts = 5\n')
    broker.start()
    client = Client(broker.url)
    try:
        manage = Manager(client.connect())
        made, own = manage.read("made"), manage.read("own")
        assert (made["settings"]["max-attempts"], made["settings"]["breaker"]["at-least"]) == (2, 5)
        assert (own["settings"]["max-attempts"], own["settings"]["max-ttl"]) == (5, "1h")
        assert (made["configured"], own["configured"]) == (False, True)
        assert manage("READ", QUEUE, "gone").status == 404
        manage.conn.sender("made").send("usable")
        broker.config.write_text('create = []\n[queue-defaults]\nmax-attempts = 9\nexpired = "discard"\n')
        assert manage("RELOAD", BROKER, "self").status == 200
        made = manage.read("made")["settings"]
        assert (made["max-attempts"], made["expired"]) == (2, "discard"), "what was set goes before the configuration"
    finally:
        client.close()
