"""Dead letters through $management: looking, causes, replay, purge, export and import, explain (docs/management.md)."""

import pytest
from proton import Message

from test_management import Manager

LETTER, REPLAY, QUEUE = "verdict.dead-letter", "verdict.replay", "verdict.queue"


@pytest.fixture
def manage(conn):
    return Manager(conn)


def ok(answer, status=200):
    assert answer.status == status, (answer.status, answer.words)
    return answer.body


def bury(conn, queue, messages):
    """Publishes these and has them rejected: (message-id, condition, description)."""
    sender = conn.sender(queue)
    for message_id, _, _ in messages:
        sender.send(Message(id=message_id, body=f"body of {message_id}", properties={"n": message_id}))
    receiver = conn.receiver(queue)
    for _, condition, description in messages:
        receiver.receive().reject(condition, description)
    receiver.close()


THREE = [
    ("m1", "app:missing", "order 17 not found"),
    ("m2", "app:missing", "order 18 not found"),
    ("m3", "app:late", "too late"),
]


def buried(manage, conn, queue, messages=THREE):
    bury(conn, queue, messages)
    listed = lambda: ok(manage("LIST", LETTER, queue))
    manage.until(listed, lambda body: len(body["letters"]) == len(messages))


def ids(body, key="letters"):
    return [letter["message-id"] for letter in body[key]]


def test_letters_are_listed_in_pages_and_found_by_what_they_died_of(manage, conn, queue):
    buried(manage, conn, queue)
    page = ok(manage("LIST", LETTER, queue, {"count": 2}))
    assert ids(page) == ["m1", "m2"] and page["total"] == 3
    rest = ok(manage("LIST", LETTER, queue, {"count": 2, "from": page["next"]}))
    assert ids(rest) == ["m3"] and rest["next"] is None
    letter = rest["letters"][0]
    assert (letter["reason"], letter["condition"], letter["description"]) == ("rejected", "app:late", "too late")
    assert letter["attempts"] == 1 and letter["origin"] == queue and letter["status"] == "ready"

    def found(**wanted):
        return ids(ok(manage("LIST", LETTER, queue, {"filter": wanted})))

    assert found(condition="app:miss*") == ["m1", "m2"]
    assert found(description="order 18") == ["m2"]
    assert found(text="body of m3") == ["m3"]
    assert found(reason="expired") == []
    assert found(sequences=[1, 3]) == ["m1", "m3"]
    assert found(**{"min-attempts": 2}) == []
    assert found(consumer=f"*({'anonymous'})") == ["m1", "m2", "m3"]
    refused = manage("LIST", LETTER, queue, {"filter": {"cause": "x"}})
    assert refused.status == 400 and "CAUSES" in refused.words


def test_letters_are_grouped_by_cause(manage, conn, queue):
    buried(manage, conn, queue)
    causes = ok(manage("CAUSES", LETTER, queue))["causes"]
    seen = [(c["count"], c["condition"], c["description"], c["example"]) for c in causes]
    assert seen == [(2, "app:missing", "order # not found", 1), (1, "app:late", "too late", 3)]
    listed = ok(manage("LIST", LETTER, queue, {"filter": {"cause": causes[0]["id"]}}))
    assert ids(listed) == ["m1", "m2"]
    some = ok(manage("CAUSES", LETTER, queue, {"filter": {"text": "body of m2"}}))["causes"]
    assert [(c["count"], c["example"]) for c in some] == [(1, 2)]


def test_a_letter_is_shown_whole(manage, conn, queue):
    buried(manage, conn, queue)
    shown = ok(manage("SHOW", LETTER, queue, {"message-id": "m2"}))
    assert shown["sequence"] == 2 and shown["dead-letter"] is True
    assert shown["application-properties"] == {"n": "m2"} and shown["properties"]["message-id"] == "m2"
    assert b"body of m2" in bytes(shown["body"])
    failure = shown["failures"][0]
    assert (failure["outcome"], failure["condition"], failure["rule"]) == ("rejected", "app:missing", "default")
    assert failure["consumer"] and [why["reason"] for why in shown["why"]][0] == "dead"
    assert manage("SHOW", LETTER, queue, {"sequence": 99}).status == 404


def replayed(manage, replay):
    read = lambda: ok(manage("READ", REPLAY, replay))
    return manage.until(read, lambda body: body["finished"] is not None)


def test_a_replay_puts_letters_back_once_and_again_by_another_name(manage, conn, queue):
    buried(manage, conn, queue)
    counted = ok(manage("REPLAY", LETTER, queue, {"id": "r1" + queue, "dry-run": True}))
    assert counted == {"matching": 3}
    started = ok(manage("REPLAY", LETTER, queue, {"id": "r1" + queue, "filter": {"condition": "app:missing"}}), 201)
    assert started["state"] in ("running", "done") and started["matching"] == 2
    done = replayed(manage, "r1" + queue)
    assert (done["state"], done["replayed"], done["skipped"]) == ("done", 2, 0)
    receiver = conn.receiver(queue)
    for expected in ("m1", "m2"):
        delivery = receiver.receive()
        assert delivery.message.id == expected and delivery.message.delivery_count == 0
        delivery.reject("app:missing", "order 19 not found")
    receiver.close()
    manage.until(lambda: ok(manage("LIST", LETTER, queue)), lambda body: len(body["letters"]) == 3)
    ok(manage("REPLAY", LETTER, queue, {"id": "r1" + queue}), 201)
    again = replayed(manage, "r1" + queue)
    assert again["replayed"] == 1, "only the one that it had not put back before"
    letters = ok(manage("LIST", LETTER, queue))["letters"]
    assert [[r["id"] for r in letter["replays"]] for letter in letters] == [["r1" + queue], ["r1" + queue]]


def test_a_canary_that_fails_again_stops_the_replay(manage, conn, queue):
    buried(manage, conn, queue)
    started = ok(manage("REPLAY", LETTER, queue, {"canary": True}), 201)
    waiting = manage.until(lambda: ok(manage("READ", REPLAY, started["id"])), lambda b: b["replayed"] == 1)
    assert waiting["state"] in ("running", "waiting-for-canary")
    receiver = conn.receiver(queue)
    receiver.receive().reject("app:missing", "again")
    done = replayed(manage, started["id"])
    assert (done["state"], done["replayed"], done["failed-again"]) == ("canary-failed", 1, 1)
    assert len(ok(manage("LIST", LETTER, queue))["letters"]) == 3


def test_canaries_that_go_well_let_the_rest_go(manage, conn, queue):
    buried(manage, conn, queue)
    receiver = conn.receiver(queue, credit=10)
    started = ok(manage("REPLAY", LETTER, queue, {"canary": True}), 201)
    for _ in THREE:
        receiver.receive().accept()
    done = replayed(manage, started["id"])
    assert (done["state"], done["replayed"], done["failed-again"]) == ("done", 3, 0)


def test_the_second_round_of_canaries_is_ten(manage, conn, queue):
    """settlement.md, Replay: canary ("one, then ten, stop if one fails again")."""
    buried(manage, conn, queue, [(f"m{n}", "app:x", "x") for n in range(15)])
    started = ok(manage("REPLAY", LETTER, queue, {"canary": True}), 201)
    receiver = conn.receiver(queue)
    receiver.receive().accept()
    ten = receiver.receive(10)
    for canary in ten[:9]:
        canary.accept()
    ten[9].reject("app:x", "again")
    done = replayed(manage, started["id"])
    assert (done["state"], done["replayed"], done["failed-again"]) == ("canary-failed", 11, 1)
    assert receiver.drain(10) == []
    assert len(ok(manage("LIST", LETTER, queue))["letters"]) == 5


def test_letters_kept_in_another_queue_are_replayed_to_the_queue_they_died_in(manage, conn, queue):
    keeper = queue + "-keeper"
    ok(manage("CREATE", QUEUE, keeper), 201)
    ok(manage("CREATE", QUEUE, queue, {"settings": {"dead-letter-queue": keeper}}), 201)
    bury(conn, queue, THREE)
    manage.until(lambda: ok(manage("MESSAGES", QUEUE, keeper)), lambda b: len(b["messages"]) == 3)
    missing = {"condition": "app:missing"}
    assert ok(manage("REPLAY", LETTER, keeper, {"dry-run": True, "filter": missing})) == {"matching": 2}
    started = ok(manage("REPLAY", LETTER, keeper, {"filter": missing}), 201)
    done = replayed(manage, started["id"])
    assert (done["state"], done["replayed"], done["skipped"]) == ("done", 2, 0)
    receiver = conn.receiver(queue, credit=5)
    for expected in ("m1", "m2"):
        delivery = receiver.receive()
        assert (delivery.message.id, delivery.message.delivery_count) == (expected, 0)
        delivery.accept()
    assert ids(ok(manage("MESSAGES", QUEUE, keeper)), "messages") == ["m3"]


def test_a_replay_is_stopped(manage, conn, queue):
    buried(manage, conn, queue)
    started = ok(manage("REPLAY", LETTER, queue, {"canary": True}), 201)
    manage.until(lambda: ok(manage("READ", REPLAY, started["id"])), lambda b: b["state"] == "waiting-for-canary")
    conflict = manage("REPLAY", LETTER, queue, {"id": started["id"]})
    assert conflict.status == 409 and "running" in conflict.words
    ok(manage("DELETE", REPLAY, started["id"]))
    assert replayed(manage, started["id"])["state"] == "stopped"
    rows, _ = manage.query(REPLAY, ["id", "state"])
    assert {"id": started["id"], "state": "stopped"} in rows
    assert manage("READ", REPLAY, "nobody").status == 404


def test_a_replay_keeps_to_its_rate(manage, conn, queue):
    buried(manage, conn, queue, [(f"m{n}", "app:x", "x") for n in range(20)])
    started = ok(manage("REPLAY", LETTER, queue, {"rate": 10, "limit": 11}), 201)
    done = replayed(manage, started["id"])
    assert done["replayed"] == 11
    assert done["finished"] - done["started"] >= 1000


def test_purge_takes_what_is_meant_and_wants_all_said(manage, conn, queue):
    buried(manage, conn, queue)
    assert manage("PURGE", LETTER, queue).status == 400
    assert ok(manage("PURGE", LETTER, queue, {"filter": {"condition": "app:late"}})) == {"removed": 1}
    assert ids(ok(manage("LIST", LETTER, queue))) == ["m1", "m2"]
    assert ok(manage("PURGE", LETTER, queue, {"all": True})) == {"removed": 2}


def test_exported_letters_are_imported_once_with_their_history(manage, conn, queue):
    buried(manage, conn, queue)
    exported = ok(manage("EXPORT", LETTER, queue, {"count": 2}))
    rest = ok(manage("EXPORT", LETTER, queue, {"from": exported["next"]}))
    letters = exported["letters"] + rest["letters"]
    assert ok(manage("IMPORT", LETTER, queue, {"letters": letters})) == {"imported": 0, "skipped": 3}
    other = queue + "-other"
    ok(manage("CREATE", QUEUE, other), 201)
    assert ok(manage("IMPORT", LETTER, other, {"letters": letters})) == {"imported": 3, "skipped": 0}
    assert ok(manage("IMPORT", LETTER, other, {"letters": letters})) == {"imported": 0, "skipped": 3}
    assert ids(ok(manage("LIST", LETTER, other))) == ["m1", "m2", "m3"]
    shown = ok(manage("SHOW", LETTER, other, {"message-id": "m3"}))
    assert shown["condition"] == "app:late" and shown["origin"] == queue and len(shown["failures"]) == 1
    receiver = conn.receiver(other + "/$deadletter")
    assert receiver.receive().message.id == "m1"
    bad = manage("IMPORT", LETTER, other, {"letters": [{"id": "x", "message": b"\x00\x01"}]})
    assert bad.status == 400 and "x" in bad.words


def test_explain_tells_the_history_and_why_it_waits(manage, conn, queue):
    sender = conn.sender(queue)
    sender.send(Message(id="e1", body="x"))
    why = lambda: ok(manage("EXPLAIN", QUEUE, None, {"message-id": "e1"}))["found"][0]
    explained = manage.until(why, lambda found: found["why"][0]["reason"] == "no-consumer")
    assert explained["queue"] == queue and explained["failures"] == []
    receiver = conn.receiver(queue)
    delivery = receiver.receive()
    held = manage.until(why, lambda found: found["why"][0]["reason"] == "acquired")
    assert "anonymous" in held["why"][0]["consumer"]
    delivery.reject("app:no", "no")
    dead = manage.until(why, lambda found: found["dead-letter"])
    assert dead["why"][0]["reason"] == "dead" and dead["failures"][0]["condition"] == "app:no"
    missing = manage("EXPLAIN", QUEUE, queue, {"message-id": "nobody"})
    assert missing.status == 404 and "never there" in missing.words


def test_messages_of_a_queue_are_looked_at_and_stay(manage, conn, queue):
    sender = conn.sender(queue)
    for n in range(3):
        sender.send(Message(id=f"w{n}", body="x"))
    looked = manage.until(lambda: ok(manage("MESSAGES", QUEUE, queue, {"bodies": True})), lambda b: len(b["messages"]) == 3)
    assert ids(looked, "messages") == ["w0", "w1", "w2"]
    assert all(message["body"] and message["delivery-count"] == 0 for message in looked["messages"])
    receiver = conn.receiver(queue)
    assert receiver.receive().message.delivery_count == 0
