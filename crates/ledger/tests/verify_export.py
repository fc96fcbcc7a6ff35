"""Checks an export of an Ombud ledger, version 1, with Python's standard library: python3 verify_export.py FILE"""
import base64, hashlib, json, struct, sys

READ = {"text": str.encode, "hex": bytes.fromhex, "uuid": lambda t: bytes.fromhex(t.replace("-", "")),
        "base64": base64.b64decode, "whole": lambda n: struct.pack(">q", n), "real": lambda x: struct.pack(">d", x)}
FIELDS = [field.split(":") for field in (
    "previous:hex sequence:whole time_us:whole id:uuid tenant:text lane:text kind:text model:text version:whole bundle:hex"
    " environment:text subject:hex key:hex sealed_input:base64 answer:text confidence:real sealed_explanation:base64"
    " latency_us:whole cache_hit:whole principal:text ip:text user_agent:text request_id:text detail:text").split()]
def frame(b): return b"\xff\xff\xff\xff" if b is None else struct.pack(">I", len(b)) + b
def cell(line, name, kind): return None if line.get(name) is None else READ[kind](line[name])
def digest(line): return hashlib.sha256(b"\x01" + b"".join(frame(cell(line, *field)) for field in FIELDS)).hexdigest()
def check(holds, place, why): holds or sys.exit(f"{place}: {why}")

first, *lines, last = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
heads = {(l["tenant"], l["lane"]): (l["first"] - 1, "0" * 64 if l["first"] == 1 else None) for l in first["lanes"]}
records, hashes, signed, previous = 0, {}, [], {}
for line in lines:
    if line["type"] == "checkpoint":
        place, text = f"{line['tenant']} checkpoint {line['number']}", line["text"]
        check(f"\nprevious {previous.get(line['tenant'], '0' * 64)}\n" in text, place, "the one before it is missing")
        previous[line["tenant"]] = hashlib.sha256(text.encode()).hexdigest()
        signed += [(line["tenant"], *head.split(" ")[1:]) for head in text.splitlines() if head.startswith("lane ")]
        continue
    lane, place = (line["tenant"], line["lane"]), f"{line['tenant']}/{line['lane']} record {line['sequence']}"
    check(line["sequence"] == heads[lane][0] + 1, place, "missing or reordered")
    check(line["hash"] == digest(line), place, "changed")
    check(heads[lane][1] in (None, line["previous"]), place, "does not follow the record before it")
    heads[lane], records = (line["sequence"], line["hash"]), records + 1
    hashes[*lane, str(line["sequence"])] = line["hash"]
for *place, value in signed:
    check(hashes.get(tuple(place), value if first["since_us"] else None) == value, place, "missing, or not as signed")
for lane in first["lanes"]:
    check(heads[lane["tenant"], lane["lane"]] == (lane["last"], lane["hash"]), lane, "cut")
check(last["type"] == "end" and last["records"] == records, "the export", "cut")
print(f"{records} records in {len(heads)} lanes and {last['checkpoints']} checkpoints hold together")
