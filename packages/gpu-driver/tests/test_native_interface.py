"""One definition of the driver's interface: what is made from it, and what compilers read in it."""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_gpu_driver.native import abi

NATIVE = Path(__file__).resolve().parent.parent / "native"
HEADER = (NATIVE / "include" / "sashizu_driver.h").read_text("utf-8")
VECTORS = json.loads((NATIVE / "vectors.json").read_text("utf-8"))
FUNCTIONS = VECTORS["functions"]


def generator():
    spec = importlib.util.spec_from_file_location("generate", NATIVE / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


generate = generator()


def layout(name):
    return getattr(abi, "".join(part.title() for part in name.split("_")))


def flattened(value, prefix=""):
    """Numbers of a ctypes value in their order, as `a.0.b`."""
    if isinstance(value, ctypes.Structure):
        for name, *_ in value._fields_:
            yield from flattened(getattr(value, name), f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, ctypes.Array):
        for at, one in enumerate(value):
            yield from flattened(one, f"{prefix}.{at}")
    else:
        yield prefix, value


def printed(compiler, tmp_path):
    """What a C program that reads the header says of sizes, places and codes."""
    lines = []
    for name, one in VECTORS["structs"].items():
        lines.append(f'P("{name}", sizeof(struct sashizu_{name}));')
        lines += [
            f'P("{name}.{field}", offsetof(struct sashizu_{name}, {field}));'
            for field in one["offsets"]
        ]
    for name, one in FUNCTIONS.items():
        lines.append(f'P("{name}", _IOWR(SASHIZU_LINUX_TYPE, {one["number"]},')
        lines.append(f"struct sashizu_{one['struct']}));")
    source = tmp_path / "print.c"
    source.write_text(
        "#include <stdio.h>\n#include <sys/ioctl.h>\n#include <linux/ioctl.h>\n"
        '#include "sashizu_driver.h"\n'
        '#define P(name, number) printf("%s %lu\\n", name, (unsigned long)(number))\n'
        "#define X(name, number, access, layout) \\\n"
        'P(#name ".windows", SASHIZU_WINDOWS_CODE(number, access)); \\\n'
        'P(#name ".linux", SASHIZU_LINUX_CODE(number, layout));\n'
        "#define Y(name, number, error, ntstatus, win32) \\\n"
        'P("E_" #name, (unsigned int)ntstatus);\n'
        "int main(void) {\nSASHIZU_FUNCTIONS(X)\nSASHIZU_STATUSES(Y)\n"
        + "\n".join(lines)
        + "\nreturn 0; }\n"
    )
    built = tmp_path / "print"
    flags = ["-Wall", "-Wextra", "-Werror", "-I", str(NATIVE / "include"), "-o", str(built)]
    subprocess.run([compiler, *flags, str(source)], check=True)
    text = subprocess.run([str(built)], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in map(str.split, text.splitlines())}


@pytest.mark.parametrize("path", generate.outputs(HEADER), ids=lambda path: path.name)
def test_nothing_differs_from_what_the_header_makes(path):
    again = "run python packages/gpu-driver/native/generate.py"
    assert path.read_text("utf-8") == generate.outputs(HEADER)[path], again


def test_a_changed_header_is_seen():
    changed = HEADER.replace("uint32_t slots; /* [out] how", "uint32_t places; /* [out] how")
    assert changed != HEADER
    written = generate.outputs(HEADER)
    assert [path for path, text in generate.outputs(changed).items() if text != written[path]] == [
        generate.HEADER,
        generate.MODULE,
        generate.VECTORS,
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("uint64_t features; /*", "enum x features; /*", "struct version"),
        ("uint64_t features; /*", "uint32_t features; /*", "a hole before pool_bytes"),
        ("uint8_t name[32];\n\tuint8_t reserved[16]", "uint8_t name[30]", "a hole at its end"),
        ("X(GPU_READ, 2", "X(GPU_READ, 7", "numbers are not"),
        ("GPU_READ, 2, READ, gpu", "GPU_READ, 2, SOME, gpu", "SOME is no access"),
        ("GPU_READ, 2, READ, gpu", "GPU_READ, 2, READ, gpus", "there is no struct gpus"),
        ("X(VERSION, 0, READ, version)", "X(VERSION, 0, READ, process)", "size and abi"),
    ],
)
def test_a_header_that_breaks_its_rules_is_refused(old, new, said):
    assert old in HEADER
    with pytest.raises(generate.Malformed, match=said):
        generate.read(HEADER.replace(old, new))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_python_reads_and_writes_the_golden_frame_of_each_function(name):
    vector = FUNCTIONS[name]
    frame = bytes.fromhex(vector["frame"])
    read = layout(vector["struct"]).from_buffer_copy(frame)
    assert dict(flattened(read)) == vector["values"]
    assert bytes(read) == frame
    assert ctypes.sizeof(read) == len(frame) == vector["values"]["size"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_python_has_the_codes_of_both_systems(name):
    function = getattr(abi, name)
    assert (int(function), function.windows) == (
        FUNCTIONS[name]["linux"],
        FUNCTIONS[name]["windows"],
    )


def test_every_windows_code_is_buffered_of_our_type_and_names_its_access():
    for one in FUNCTIONS.values():
        assert one["windows"] >> 16 == 0x8337
        assert one["windows"] & 3 == 0
        assert one["windows"] >> 2 & 0xFFF == 0x800 + one["number"]
        assert one["windows"] >> 14 & 3 in {1, 2, 3}


def test_no_two_statuses_look_the_same_on_either_system():
    assert set(abi.ERRNO.values()) == set(abi.WIN32.values()) == set(abi.Status)


def test_a_c_compiler_reads_the_same_sizes_places_and_codes(tmp_path):
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler: install gcc")
    seen = printed(compiler, tmp_path)
    for name, one in VECTORS["structs"].items():
        assert seen[name] == one["size"]
        assert {f: seen[f"{name}.{f}"] for f in one["offsets"]} == one["offsets"]
    for name, one in FUNCTIONS.items():
        assert seen[name] == seen[f"{name}.linux"] == one["linux"]
        assert seen[f"{name}.windows"] == one["windows"]
    for name, (_, _, ntstatus, _) in VECTORS["statuses"].items():
        assert seen[f"E_{name}"] == ntstatus


@given(st.data())
def test_any_bytes_survive_a_way_through_python(data):
    name = data.draw(st.sampled_from(sorted(VECTORS["structs"])))
    size = VECTORS["structs"][name]["size"]
    frame = data.draw(st.binary(min_size=size, max_size=size))
    assert bytes(layout(name).from_buffer_copy(frame)) == frame
