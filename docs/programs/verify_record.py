"""Checks a record of sashizu without its packages: python verify_record.py FOLDER [KEYS [NOTES]...]

KEYS are lines or a file of them, NOTES are files. Needs `cryptography`, and a copy at rest.
Ends with 0 intact, 1 changed or removed, 2 torn by a crash, 3 not to be told, 64 called wrongly.
"""
import base64, gzip, json, re, sys, zlib
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
found = []  # (exit code, where, why)

def signed_by(note, line):
    name, key_id, key = line.split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    for signer, data in note["signatures"]:
        with suppress(InvalidSignature):
            if signer == name and data[:4].hex() == key_id:
                return public.verify(data[4:], note["text"]) is None
    return False

def notes_in(path):
    text = path.read_text("utf-8", "replace") if path.exists() else ""
    for body, below in re.findall(r"((?:[^\n]+\n)+)\n((?:— \S+ \S+\n)+)", text):
        (origin, size, root), lines = body.split("\n")[:3], below.splitlines()
        parts = [(line.split(" ")[1], base64.b64decode(line.split(" ")[2])) for line in lines]
        head = {"origin": origin, "size": int(size), "root": base64.b64decode(root)}
        yield head | {"text": body.encode(), "signatures": parts}

def tree_root(leaves):
    if len(leaves) < 2:
        return sha256(b"\0" + leaves[0] if leaves else b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()

def followed(place, leaves, keys):  # all keys of a record, where each has signed for the next
    chain = []
    for n, told in enumerate([json.loads(leaf).get("key") for leaf in leaves], 1):
        pair = [told["previous"], told["next"]] if told else []
        notes = notes_in(place / f"{n - 1:06}.note") if chain[-1:] in ([], pair[:1]) else ()
        agreed = [x for x in notes if (x["size"], x["root"]) == (n, tree_root(leaves[:n]))]
        chain += pair[len(chain) > 0 :] * any(all(signed_by(x, k) for k in pair) for x in agreed)
    return chain if {*keys} & {*chain} else keys

def check_notes(place, leaves, store_id, keys, kept):
    own, signed, code = list(notes_in(place))[:1], 0, 1 if leaves or place.exists() else 3
    found.extend([(code, place, "there is no note")] if not own and (keys or code == 1) else [])
    for note in own + [note for path in kept for note in notes_in(path)]:
        why = ((1, "it is of another record") if note["origin"] != f"sashizu.audit/{store_id}"
               else (3, "there is no key to check notes with") if not keys
               else (1, "a note is not signed by it") if not any(signed_by(note, k) for k in keys)
               else (1, "the digests are not those that were signed") if note["size"] > len(leaves)
               or tree_root(leaves[: note["size"]]) != note["root"] else None)
        found.extend([(why[0], place, why[1])] if why else [])
        signed = signed if why else max(signed, note["size"])
    return leaves[:signed] if keys else leaves

def check_segment(path, writer, w, is_last, its, redacted):
    data, w["ended"], packed = path.read_bytes(), "", path.suffix == ".gz"
    w["packed"][its[0]] = packed and sha256(data).hexdigest()
    *lines, tail = (gzip.decompress(data) if packed else data).split(b"\n")
    if re.search(rb',"h":"[0-9a-f]{64}"}(?!\0+\Z)', tail):  # whole: a crash took its newline alone
        lines, tail = [*lines, tail], None
    for place, line in enumerate(lines, 1):
        event, h = json.loads(line), sha256(w["h"].encode() + line[:-72]).hexdigest()
        attrs, lawful = event.get("attrs", {}), redacted.get((writer, event["seq"]))
        if line[-72:] != f',"h":"{h}"}}'.encode() and sha256(line).hexdigest() != lawful:
            raise ValueError(f"line {place} was changed")
        mine = (event["writer_id"], event["seq"]) == (writer, len(w["all"]))
        if not mine or (place == 1 and (attrs["segment"], attrs["store_id"]) != its):
            raise ValueError(f"line {place} belongs elsewhere")
        w["h"], w["ended"] = event["h"], attrs["reason"] if event["kind"] == "writer.closed" else ""
        w["all"].append(event["h"])
        w["told"] += [(event["kind"], attrs)] if event["kind"][:6] in ("writer", "audit.") else []
    if (tail != b"" if w["ended"] else not is_last) or (packed and not lines):
        raise ValueError("its end is missing, or something was added to it")
    found.extend([(2, path, "a crash left half a line, or none")] if tail or not data else [])

def check_told(writers, leaves):
    def claim(code, source, writer, seq, h):
        w = writers.get(writer, {"all": [], "ended": ""})
        if seq >= len(w["all"]):
            found.append((1 if w["ended"] == "closed" else code, writer, f"event {seq} is gone"))
        elif w["all"][seq] not in (h, None):
            found.append((1, writer, f"event {seq} is not the one that {source} knows"))

    vouched, told = {}, [(n, kind, attrs) for n, w in writers.items() for kind, attrs in w["told"]]
    parents = {attrs["child_writer_id"]: n for n, kind, attrs in told if kind == "writer.spawned"}
    ends = {attrs["child_writer_id"]: attrs for _, k, attrs in told if k == "writer.child_closed"}
    for head in [head for leaf in leaves for head in json.loads(leaf).get("writers", [])]:
        claim(1, "a checkpoint", head["writer_id"], head["seq"], head["h"])
    for name, kind, attrs in told:
        parent, root = attrs.get("parent_writer_id"), bytes.fromhex(str(attrs.get("root", "")))
        for one in attrs["segments"] if kind == "audit.sealed" else [attrs]:
            if kind in ("audit.sealed", "writer.recovered"):
                claim(1, name, one["writer_id"], one["seq"], one["h"])
            if kind == "audit.sealed":
                its = writers.get(one["writer_id"], {"packed": {}})["packed"].get(one["segment"])
                vouched.setdefault(its, set()).add(one["sha256"])
        if kind == "audit.checkpointed" and tree_root(leaves[: attrs["size"]]) != root:
            found.append((1, name, "a checkpoint that it tells of is gone, or another one"))
        if origin := attrs.get("forked_from"):
            claim(3, name, origin["writer_id"], origin["seq"] - 1, origin["h"])
        if parent and name not in parents and None not in writers.get(parent, {"all": ()})["all"]:
            found.append((3, name, "its parent does not announce it"))
    for child in set(parents) | set(ends):
        if "seq" in ends.get(child, ()):
            claim(1, parents.get(child), child, ends[child]["seq"], ends[child]["h"])
        elif child not in writers and child not in ends:
            found.append((3, child, "it was announced, and is missing"))
    found.extend((1, x, "is not as it was packed") for x in vouched if x and x not in vouched[x])

def main(folder, key="", *kept):
    base, writers, gone, redacted, files = folder / "checkpoints", {}, {}, {}, {}
    store_id = json.loads((folder / "store.json").read_bytes())["store_id"]
    leaves = [(base / f"{n:06}.json").read_bytes() for n, _ in enumerate(base.glob("[0-9]*.json"))]
    keys = followed(base, leaves, (Path(key).read_text() if Path(key).is_file() else key).split())
    for leaf in map(json.loads, check_notes(base / "checkpoint", leaves, store_id, keys, kept)):
        dropped = leaf.get("pruned", {}).get("segments", [])
        gone |= {(x["writer_id"], x["segment"]): x for x in dropped}
        redacted |= {(x["writer_id"], x["seq"]): x["line_sha256"] for x in leaf.get("redacted", [])}
    for path in [*folder.glob("hot/*.jsonl"), *folder.glob("sealed/*/*.jsonl.gz")]:
        files[path.name.split(".")[0], int(path.name.split(".")[1])] = path
    for writer, last in dict(sorted(files | gone)).items():
        w = writers[writer] = {"h": "0" * 64, "all": [], "told": [], "packed": {}, "ended": ""}
        for n in range(min(last, len(files) + len(gone)) + 1):  # a number may be absurd
            try:
                if (writer, n) in files or not (one := gone.get((writer, n))):
                    after = (file for key, file in files.items() if key[0] == writer and key[1] > n)
                    is_last = not any(x.suffix == ".gz" or b"\n" in x.read_bytes() for x in after)
                    check_segment(files[writer, n], writer, w, is_last, (n, store_id), redacted)
                elif (one["previous_h"], one["first_seq"]) == (w["h"], len(w["all"])):
                    w["all"] += [None] * (one["events"] - 1) + [one["h"]]
                    w["h"], w["ended"] = one["h"], "closed"
                else:
                    raise ValueError("what was dropped does not fit")
            except (ValueError, LookupError, OSError, EOFError, zlib.error, TypeError) as error:
                found.append((1, files.get((writer, n), f"{writer}.{n}"), error))
        found.extend([(3, writer, "its next file is missing")] if w["ended"] == "rolled" else [])
    check_told(writers, leaves)

if len(sys.argv) < 2 or not Path(sys.argv[1], "store.json").is_file():
    sys.exit(print(__doc__, file=sys.stderr) or 64)
try:
    main(Path(sys.argv[1]), *sys.argv[2:3], *map(Path, sys.argv[3:]))
except (ValueError, LookupError, OSError) as error:
    found.append((1, "checkpoints", error))
print(*(f"{where}: {why}" for _, where, why in found), sep="\n")
sys.exit(next((code for code in (1, 3, 2) if code in {one[0] for one in found}), 0))
