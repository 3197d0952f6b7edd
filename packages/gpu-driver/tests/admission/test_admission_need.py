"""How much memory a model is thought to take, by what its files tell."""

import json
import os
import struct
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ConfigError
from sashizu_core.local_models import LocalTable
from sashizu_gpu_driver.admission.need import RUNTIME, need_of
from sashizu_gpu_driver.admission.shape import ShapeError, shape_of

LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
LLAMA_TOKEN = 2 * 32 * 8 * 128


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(one):
    if isinstance(one, str):
        return struct.pack("<I", 8) + text(one)
    if isinstance(one, float):
        return struct.pack("<If", 6, one)
    if isinstance(one, list) and isinstance(one[0], str):
        return struct.pack("<IIQ", 9, 8, len(one)) + b"".join(map(text, one))
    if isinstance(one, list):
        return struct.pack("<IIQ", 9, 5, len(one)) + struct.pack(f"<{len(one)}i", *one)
    return struct.pack("<II", 4, one)


def gguf(facts):
    pairs = b"".join(text(key) + value(one) for key, one in facts.items())
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(facts)) + pairs


def need(weights, **local):
    table = {"start": ["server"], "weights": str(weights), **local}
    return need_of("one", LocalTable.model_validate(table))


@pytest.fixture
def llama(tmp_path):
    file = tmp_path / "llama.gguf"
    file.write_bytes(gguf(LLAMA))
    return file


def test_what_every_call_remembers_is_added_to_the_weights(llama):
    bare = need(llama)

    assert bare == int(llama.stat().st_size * 1.1) + RUNTIME
    assert need(llama, context=8192) - bare == LLAMA_TOKEN * 2 * 8192
    assert need(llama, context=8192, slots=4) - bare == 4 * LLAMA_TOKEN * 2 * 8192
    assert need(llama, context=8192, kv_bits=8) - bare == LLAMA_TOKEN * 8192


def test_a_shape_is_told_by_layer_where_layers_differ(tmp_path):
    file = tmp_path / "mixed.gguf"
    tokens = {"tokenizer.ggml.tokens": ["a", "b"]}
    sizes = {"llama.attention.key_length": 64, "llama.attention.value_length": 32}
    counts = {"llama.attention.head_count_kv": [4, 0, 2]}
    file.write_bytes(gguf(LLAMA | {"general.x": 1.5} | sizes | counts | tokens))

    assert shape_of(file).numbers == 6 * (64 + 32)


def test_a_vocabulary_before_the_sizes_is_passed_over(tmp_path):
    file = tmp_path / "late.gguf"
    file.write_bytes(gguf({"tokenizer.ggml.tokens": ["a", "b"], **LLAMA}))

    assert shape_of(file).numbers == LLAMA_TOKEN


@pytest.mark.parametrize("key", ["", "text_config"])
def test_a_folder_tells_its_shape_in_config_json(tmp_path, key):
    config = {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}
    config["num_key_value_heads"] = 8
    (tmp_path / "config.json").write_text(json.dumps({key: config} if key else config))

    assert shape_of(tmp_path).numbers == LLAMA_TOKEN


SANE = {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}


@pytest.mark.parametrize(
    "lie",
    [
        {"head_dim": -128},
        {"num_key_value_heads": -8},
        {"head_dim": True},
        {"hidden_size": 1},
        {"num_hidden_layers": 10**400},
    ],
)
def test_sizes_that_no_model_has_are_refused(tmp_path, lie):
    (tmp_path / "config.json").write_text(json.dumps(SANE | lie))

    with pytest.raises(ShapeError):
        shape_of(tmp_path)


def test_fewer_heads_than_none_are_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf(LLAMA | {"llama.attention.head_count_kv": [4, -2, 4]}))

    with pytest.raises(ShapeError, match="fewer heads"):
        shape_of(file)


def test_a_file_that_tells_of_itself_without_end_is_not_read(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 40) + bytes(100))

    with pytest.raises(ShapeError, match="are read"):
        shape_of(file)


def test_a_config_without_end_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)

    with pytest.raises(ShapeError, match="longer than"):
        shape_of(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder of Windows has no pipes")
def test_a_pipe_among_the_weights_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.gguf")

    with pytest.raises(ShapeError, match="neither"):
        shape_of(tmp_path)


def test_more_than_any_device_has_is_refused_before_it_is_asked_for(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SANE))

    with pytest.raises(ConfigError, match=r"takes .* bytes by its files: give vram"):
        need(tmp_path, context=1 << 30, slots=10_000)


def test_a_size_beyond_all_numbers_is_refused():
    with pytest.raises(ValueError, match="no size of anything"):
        LocalTable.model_validate({"vram": "9" * 400 + "TB"})


@pytest.mark.parametrize("path", ["~nobody-of-that-name/weights", "a\0b"])
def test_a_path_that_is_none_is_told_with_the_model(path):
    with pytest.raises(ConfigError, match=r"\[models.one\]: the weights .* cannot be read"):
        need(path)


def test_files_that_do_not_tell_it_are_named_with_what_to_do(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"0000")

    with pytest.raises(ConfigError, match=r"\[models.one\] context: .* vram = '6GiB'"):
        need(tmp_path, context=8192)


@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_nothing_else(tmp_path_factory, data):
    whole = bytearray(gguf(LLAMA))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    with suppress(ShapeError):
        assert shape_of(file).numbers > 0
