"""Compressed answers, which nobody asked for and some proxies send."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ModelError
from sashizu_openai.compression import LARGEST_PIECE, Unpacker


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[at : at + 100]) for at in range(0, len(data), 100))


PACKED = {
    "gzip": ("gzip", gzip.compress),
    "several members": ("x-gzip", members),
    "padded": ("gzip", lambda data: gzip.compress(data) + b"\0" * 100),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("Deflate", raw_deflate),
}


@pytest.fixture(params=PACKED.values(), ids=PACKED)
def packed(request):
    return request.param


def compressed(coding: str, data: bytes, step: int):
    async def handler(connection, request):
        await connection.head(content_encoding=coding, content_type="text/event-stream")
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            await connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await connection.end()

    return handler


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_an_answer_is_unpacked_whole(server, connect, wire, ask, packed, step) -> None:
    coding, pack = packed
    text = "Hello. " * 40
    server.serves(compressed(coding, pack(wire.stream(text)), step))
    model = await connect(server.url, api=wire.api)
    for _ in range(2):
        assert (await model.complete(ask())).message.content == text
    assert server.connections == 1


async def test_an_answer_whose_compression_is_cut_off_is_no_answer(
    server, connect, wire, ask, packed
) -> None:
    coding, pack = packed
    whole = pack(wire.stream("Hello. " * 40)).rstrip(b"\0")
    server.serves(compressed(coding, whole[: len(whole) // 2], 10_000))
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError, match="compression") as caught:
        await model.complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("transport", True)


async def test_garbage_behind_a_member_is_told(server, connect, chat, ask) -> None:
    server.serves(compressed("gzip", gzip.compress(chat.opening()) + b"garbage", 10_000))
    with pytest.raises(ModelError, match="damaged"):
        await (await connect(server.url)).complete(ask())


@given(
    st.sampled_from(list(PACKED.values())),
    st.binary(max_size=300),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_wherever_it_is_cut_the_same_comes_out(packed, data, cuts) -> None:
    coding, pack = packed
    sent = pack(data)
    unpacker = Unpacker(coding.lower())
    found, at = b"", 0
    while at < len(sent):
        step = cuts[at % len(cuts)]
        found += b"".join(unpacker.take(sent[at : at + step]))
        at += step
    assert found + unpacker.end() == data


def test_a_bomb_comes_in_pieces() -> None:
    unpacker = Unpacker("gzip")
    pieces = unpacker.take(gzip.compress(b"\0" * 100_000_000))
    sizes = [len(next(pieces)) for _ in range(10)]
    assert max(sizes) <= LARGEST_PIECE
