"""Runs the real tool of OpenSSF Model Signing for our interoperability tests.

    model_signing_interop.py verify  FOLDER SIGNATURE PUBLIC_KEY
    model_signing_interop.py sign    FOLDER SIGNATURE PRIVATE_KEY
    model_signing_interop.py compare FOLDER SIGNATURE PRIVATE_KEY

`verify` and `sign` are the tool's own commands `verify key` and `sign key`. `compare` signs the folder
with the tool and exits 1 unless SIGNATURE, made by us with the same key, says the same in every field
but the signature itself (the tool's is randomized). Needs the PyPI packages model-signing and pyOpenSSL.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile


def tool(verb, folder, signature, option, key):
    command = [sys.executable, "-m", "model_signing", verb, "key", folder]
    return subprocess.run([*command, "--signature", signature, option, key]).returncode


def parts(signature):
    """The bundle without its signature, and the statement in it, with the one unordered list sorted."""
    bundle = json.loads(pathlib.Path(signature).read_text(encoding="utf-8"))
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope.pop("payload"), validate=True))
    statement["predicate"]["serialization"]["ignore_paths"].sort()
    envelope["signatures"][0].pop("sig")
    return {"bundle": bundle, "statement": statement}


def compare(folder, ours, key):
    with tempfile.TemporaryDirectory() as place:
        theirs = f"{place}/model.sig"
        # The tool leaves out the signature file it writes, so ours has to be out of the way.
        aside = pathlib.Path(ours).rename(f"{place}/ours.sig")
        code = tool("sign", folder, ours, "--private_key", key)
        if code != 0:
            return code
        pathlib.Path(ours).rename(theirs)
        aside.rename(ours)
        expected, found = parts(theirs), parts(ours)
    if expected == found:
        return 0
    print(f"theirs: {json.dumps(expected, indent=1)}\nours: {json.dumps(found, indent=1)}")
    return 1


def main():
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    verb, folder, signature, key = sys.argv[1:]
    match verb:
        case "verify":
            return tool(verb, folder, signature, "--public_key", key)
        case "sign":
            return tool(verb, folder, signature, "--private_key", key)
        case "compare":
            return compare(folder, signature, key)
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
