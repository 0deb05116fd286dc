"""The queues of the kill cycles with delays, rules, groups and duplicate detection, and replays of dead letters.

A replay is named by its number and belongs to one queue. It is begun under load, killed with the broker, and
begun again under the same name, under load or with nobody about, until the broker says that it is done.
"""
from . import looks
from .client import Loop
from .ledger import Traits
from .load import Load, Producer
from .manage import LETTER, QUEUE, REPLAY, Manager
from .scenario import Failed

QUEUES = {"late": 4, "once": 3, "group": 4, "ruled": 4}
TRAITS = {
    "late": Traits(delays=(300, 500, 900)),
    "once": Traits(once=True),
    "group": Traits(delays=(0, 20, 100), grouped=True),
    "ruled": Traits(rejected_retries=2),
}
CONFIG = """
[[queue]]
name = "late"
max-attempts = 4
retry-delay = { first = "300ms", initial = "500ms", max = "900ms", jitter = 0.0 }

[[queue]]
name = "once"
max-attempts = 3
retry-delay = { first = "0ms", initial = "0ms" }
duplicates = { detect = "message-id", window = "1d", count = 1000000 }

[[queue]]
name = "group"
max-attempts = 4
retry-delay = { first = "0ms", initial = "20ms", max = "100ms", jitter = 0.0 }
retry-order = "group"

[[queue]]
name = "ruled"
max-attempts = 4
retry-delay = { first = "0ms", initial = "0ms" }
delays = { soon = "20ms" }
rules = [{ name = "refused", outcome = "rejected", condition = "test:*", attempt = "1-2", action = "retry", delay = "soon" }]
"""
# Where dead letters are replayed, and where messages wait long enough to be asked until when.
REPLAYED, WAITING = ("k0", "k1", "ruled"), ("late", "group")


class Replayer:
    """Replays that run beside the load: those that a crash interrupted, and perhaps a new one."""

    def __init__(self, scenario, load, until_s):
        self.ledger, rng = scenario.ledger, scenario.rng
        self.manager = Manager(load.loop, load.port, f"{load.name}-manager")
        self.planned = []
        for name in REPLAYED:
            if self.ledger.queues[name].campaign or rng.random() < 0.6:
                how = rng.choice(({}, {"rate": 40}, {"rate": 400}, {"canary": True}))
                self.planned.append((rng.uniform(0, until_s), name, how))

    def step(self, now_s):
        self.manager.work()
        for plan in [plan for plan in self.planned if plan[0] < now_s]:
            self.planned.remove(plan)
            _, name, how = plan
            self.manager.ask("REPLAY", LETTER, name, {"id": begun(self.ledger, name), **how}, self._started)

    @staticmethod
    def _started(status, body):
        if status != 201:
            raise Failed(f"REPLAY is answered {status}")


def begun(ledger, name):
    """The name of a queue's replay that is not done, or of a new one: from now on it may move letters."""
    queue = ledger.queues[name]
    if not queue.campaign:
        ledger.campaigns += 1
        ledger.totals["replays"] += 1
        queue.campaign = ledger.campaigns
    queue.replaying = True
    ledger.mark(f"replay {queue.campaign} of {name}")
    return str(queue.campaign)


def retry_times(scenario, load, manager):
    """Just before the end, under load: until when messages wait."""
    scenario.told, answers = {}, []
    for name in WAITING:
        def then(status, body, name=name):
            answers.append(name)
            found = [looks.Found("Q", summary) for summary in body["messages"]] if status == 200 else []
            scenario.told[name] = {one.id: (one.count, one.not_before) for one in found if one.not_before is not None}
        manager.ask("MESSAGES", QUEUE, name, {"count": 1000}, then)

    def done():
        load.step()
        manager.work()
        return len(answers) == len(WAITING)
    load.loop.run(done, 10)
    if len(answers) < len(WAITING):
        raise Failed(f"MESSAGES is not answered under load: {load.trouble()}")


def after_restart(scenario, audited):
    """With nobody else about: looks at some queues, sends again what had no answer, ends replays."""
    ledger, rng = scenario.ledger, scenario.rng
    told, scenario.told = getattr(scenario, "told", {}), {}
    manager = Manager(Loop(), scenario.broker.port, f"look{scenario.cycle}")
    finished = [name for name in REPLAYED if ledger.queues[name].campaign and (name in audited or rng.random() < 0.4)]
    for name in ledger.queues:
        if name not in audited and name not in finished and not told.get(name):
            continue
        found = look(manager, ledger, name, True)
        looks.compare_retry_times(ledger, told.get(name, {}), found)
        if name in finished:
            finish_replay(manager, ledger, name, found)
            look(manager, ledger, name, False)
    if "once" in audited and not ledger.violations:
        send_again(ledger, scenario.broker.port, "once")
        look(manager, ledger, "once", False)
    manager.close()


def look(manager, ledger, name, durable):
    found = [looks.Found("Q", summary) for summary in manager.pages("MESSAGES", QUEUE, name, "messages")]
    found += [looks.Found("D", summary) for summary in manager.pages("LIST", LETTER, name, "letters")]
    looks.looked(ledger, name, found, durable)
    return found


def finish_replay(manager, ledger, name, found):
    """Begins it again under its name, and waits until it is done. `found`: all that is there now."""
    number = begun(ledger, name)
    ledger.totals["interrupted"] += any(int(number) in one.replays for one in found)
    manager.call("REPLAY", LETTER, name, {"id": number}, 201)
    for _ in range(2000):
        replay = manager.call("READ", REPLAY, number, {})
        if replay["finished"] is not None:
            break
        manager.loop.turn(0.005)
    if replay["state"] != "done":
        raise Failed(f"replay {number} of {name} does not end: {replay}")
    ledger.mark(f"replay {number} of {name} is done: {replay['replayed']} put back, {replay['skipped']} skipped")
    ledger.totals["put back"] += replay["replayed"]
    looks.replay_done(ledger, name, int(number), replay["skipped"] == 0)


def send_again(ledger, port, name):
    """A publisher that had no answers sends all of it once more, and gets them now."""
    load = Load(ledger, port, None, "again")
    producer = Producer(load, load.connect("p"), name, "again", None)
    producer.again = ledger.unanswered(name)

    def done():
        producer.send_again()
        return not ledger.unanswered(name)
    if not load.loop.run(done, 20):
        raise Failed(f"{len(ledger.unanswered(name))} messages sent again are not answered: {load.trouble()}")
    load.close()
