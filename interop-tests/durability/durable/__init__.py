"""Black-box durability tests of a broker: client, ledger, broker process, and the scenarios.

Nothing here shares code with Verdict: the client is written from the AMQP 1.0 specification on raw
sockets, so that a mistake in the broker's codec or engine cannot hide itself.
"""
