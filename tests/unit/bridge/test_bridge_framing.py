"""Framing: however the bytes are cut, the frames are the same; what breaks a rule is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model.framing import HELLO_FRAME_BYTES, FrameDecoder, encode
from yggdrasil.device.v1 import link_pb2 as link

frames = st.lists(
    st.one_of(
        st.integers(0, 2**64 - 1).map(lambda n: link.Frame(ping=link.Ping(token=n))),
        st.binary(min_size=1, max_size=900).map(
            lambda b: link.Frame(capability_page=link.CapabilityPage(offset=1, data=b))
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=36).map(
            lambda t: link.Frame(result=link.Result(call_id=t, status=link.RESULT_STATUS_OK))
        ),
    ),
    max_size=8,
)


@given(frames, st.data())
def test_frames_are_the_same_however_the_bytes_are_cut(sent: list[link.Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    decoder, seen = FrameDecoder(), list[link.Frame]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        seen += decoder.feed(stream[:size])
        stream = stream[size:]
    assert seen == sent


@given(st.binary(max_size=400))
def test_any_bytes_give_frames_or_a_link_error(data: bytes) -> None:
    try:
        for frame in FrameDecoder().feed(data):
            assert frame.WhichOneof("body") is not None
    except LinkError as e:
        assert e.code in (link.GOODBYE_CODE_PROTOCOL_ERROR, link.GOODBYE_CODE_UNKNOWN_FRAME)


def test_a_frame_may_be_as_long_as_the_limit_and_no_longer() -> None:
    def ping_page(size: int) -> bytes:
        return encode(link.Frame(capability_page=link.CapabilityPage(data=b"x" * size)))

    overhead = len(ping_page(1000)) - 1000 - 2
    assert len(list(FrameDecoder().feed(ping_page(HELLO_FRAME_BYTES - overhead)))) == 1
    with pytest.raises(LinkError, match="1 to 1024 are allowed"):
        list(FrameDecoder().feed(ping_page(HELLO_FRAME_BYTES - overhead + 1)))


def test_a_frame_too_long_is_refused_by_its_length_alone() -> None:
    with pytest.raises(LinkError, match="a frame of 16383 bytes"):
        list(FrameDecoder().feed(b"\xff\x7f"))


def test_raised_limit_applies_to_next_frame_in_same_bytes() -> None:
    small = encode(link.Frame(ping=link.Ping(token=1)))
    large = encode(link.Frame(capability_page=link.CapabilityPage(data=b"x" * 3000)))
    decoder = FrameDecoder()
    arriving = decoder.feed(small + large)
    next(arriving)
    decoder.limit_bytes = 4096
    assert next(arriving).WhichOneof("body") == "capability_page"


@pytest.mark.parametrize(("number", "skipped"), [(63, False), (64, True), (1000, True), (47, False)])
def test_unknown_body_is_skipped_unless_critical(number: int, skipped: bool) -> None:
    key = number << 3 | 2
    body = bytes([key & 0x7F | 0x80, key >> 7, 0]) if key < 1 << 14 else b""
    data = bytes([len(body)]) + body
    if skipped:
        assert list(FrameDecoder().feed(data)) == []
    else:
        with pytest.raises(LinkError) as caught:
            list(FrameDecoder().feed(data))
        assert caught.value.code == link.GOODBYE_CODE_UNKNOWN_FRAME


TEXTS = [
    link.Frame(result=link.Result(call_id="a\0", status=link.RESULT_STATUS_OK)),
    link.Frame(result=link.Result(call_id="a", status=link.RESULT_STATUS_HARDWARE, message="bro\0ken")),
    link.Frame(event=link.Event(sequence=1, fields=[link.Argument(value=link.LinkValue(text="\0"))])),
    link.Frame(telemetry=link.Telemetry(samples=[link.Sample(), link.Sample(value=link.LinkValue(text="a\0b"))])),
    link.Frame(twin_report=link.TwinReport(states=[link.TwinState(value=link.LinkValue(text="\0"))])),
    link.Frame(hello=link.Hello(hardware=link.Hardware(model="b\0"))),
    link.Frame(hello=link.Hello(features=[link.FeatureOffer(name="b\0")])),
    link.Frame(goodbye=link.Goodbye(message="\0")),
]


@pytest.mark.parametrize("frame", TEXTS, ids=lambda frame: frame.WhichOneof("body"))
def test_decoder_refuses_a_text_with_a_zero_byte(frame: link.Frame) -> None:
    with pytest.raises(LinkError, match="zero byte"):
        list(FrameDecoder().feed(encode(frame)))


def test_decoder_accepts_zero_bytes_outside_text() -> None:
    frame = link.Frame(event=link.Event(fields=[link.Argument(value=link.LinkValue(data=b"a\0b"))]))
    assert list(FrameDecoder().feed(encode(frame))) == [frame]
