"""Bodies are cut into events the same way wherever the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ModelError
from sashizu_openai.sse import LARGEST_EVENT, Event, EventReader


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.end()


@st.composite
def cut_bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    lines = st.sampled_from(
        [
            b"data: {}",
            b"data:x",
            b"data: a\x0b\x0c\xc2\x85b",
            b"event: error",
            b": comment",
            b"id: 7",
            b"retry: 1",
            b"nonsense",
            b"",
            b"",
        ]
    )
    ends = st.sampled_from([b"\n", b"\r\n"])
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + b"".join(
        draw(lines) + draw(ends) for _ in range(draw(st.integers(0, 12)))
    )
    places = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    return body, pieces


@given(cut_bodies())
def test_events_do_not_depend_on_where_the_body_is_cut(cut: tuple[bytes, list[bytes]]) -> None:
    body, pieces = cut
    assert read(*pieces) == read(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_unless_they_are_a_web_page(body: bytes) -> None:
    if body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        with pytest.raises(ModelError):
            read(body)
    else:
        assert all(event.data is not None for event in read(body))


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [Event("", b"a")]),
        (b"data:a\r\ndata: b\r\n\r\n", [Event("", b"a\nb")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [Event("error", b"a"), Event("", b"b")]),
        (b": hi\n\nevent: x\n\ndata: a\n\n", [Event("", b"a")]),
        (b"data: a\rdata: b\r\r", [Event("", b"a\nb")]),
        (b"data: [DONE]", [Event("", b"[DONE]")]),
        (b'\n {"a":\n\n1}', [Event("", b'{"a":\n\n1}', whole=True)]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_bodies_are_read_as_the_standard_says(body: bytes, events: list[Event]) -> None:
    assert read(body) == events
    assert read(*(body[at : at + 1] for at in range(len(body)))) == events


def test_comments_alone_are_never_kept() -> None:
    reader = EventReader()
    for _ in range(10_000):
        assert reader.feed(b": ping\n\n") == []
    assert reader.end() == []


def test_an_event_that_never_ends_is_refused() -> None:
    reader = EventReader()
    reader.feed(b"data: a\n")
    for _ in range(15):
        reader.feed(b"data: " + bytes(LARGEST_EVENT // 16) + b"\n")
    with pytest.raises(ModelError) as caught:
        reader.feed(b"data: " + bytes(LARGEST_EVENT // 8) + b"\n")
    assert caught.value.fault == "protocol"
