"""The decoder reads what the specification gives as examples, and what real clients are known to send."""

from capture import Capture, show
from wire import Reader, Symbol, frames


def value(text):
    return Reader(bytes.fromhex(text)).value()


def test_a_symbol_is_not_a_string():
    assert show(value("a3 03 616263")) == "abc"
    assert show(value("a1 03 616263")) == '"abc"'
    assert isinstance(value("b3 00000003 616263"), Symbol)


def test_numbers_and_constants():
    table = {"41": "true", "56 00": "false", "43": "0", "52 07": "7", "70 00000100": "256", "44": "0",
             "80 0000000000000001": "1", "55 ff": "-1", "83 0000000000000005": "5"}
    assert {code: show(value(code)) for code in table} == table


def test_an_absent_field_is_not_false():
    assert show(value("00 53 27 45")) == "modified"
    assert show(value("00 53 27 c0 02 01 42")) == "modified(delivery-failed=false)"
    assert show(value("00 53 27 c0 03 02 40 41")) == "modified(undeliverable-here=true)"


def test_a_descriptor_may_be_a_name_and_arrays_have_one_constructor():
    assert show(value("00 a3 12 616d71703a61636365707465643a6c697374 45")) == "accepted"
    assert value("e0 06 02 a3 01 61 01 62") == ["a", "b"]


def test_frames_of_a_stream_headers_and_empty_frames_left_out():
    header, empty = "414d5150 00010000", "00000008 02000000"
    end = "0000000c 02000005 00 53 17 45"
    cut = "0000000c 0200"
    got = frames(bytes.fromhex(header + empty + end + cut))
    assert [(f.channel, f.name) for f in got] == [(5, "end")]


def test_dispositions_are_told_with_range_settlement_and_state():
    disposition = "00 53 15 c0 09 05 41 43 52 02 41 00 53 24 45"
    body = bytes.fromhex(disposition)
    stream = (8 + len(body)).to_bytes(4) + bytes.fromhex("02000000") + body
    assert Capture([stream], "q").dispositions == ["0-2 settled accepted"]
