# SPDX-License-Identifier: Apache-2.0
"""Token ids, .npy, .npz, .pb, and the words of the command line."""
import io
import json
import os
import struct
import zipfile
import zlib
from frame import *

MODELS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "models")
BERT = os.path.join(MODELS, "bert-tiny", "model.onnx")
with open(os.path.join(MODELS, "bert-tiny", "config.json")) as config_file:
    CONFIG = json.load(config_file)
VOCABULARY, POSITIONS = CONFIG["vocab_size"], CONFIG["max_position_embeddings"]
RELU = simple([node("Relu", ["x"])])
POSITIVE = np.maximum(X, 0)


def id_cases():
    g = "12-ids"

    def ids(name, verdict, text, *more):
        add(g, name, verdict, text if isinstance(text, bytes) else text.encode(), args=["run", BERT, "--input", "ids.txt", *more], file="ids.txt")

    ids("plain", "run", "1 2 3\n4 5\n")
    ids("no-newline", "run", "1 2 3")
    ids("commas", "run", "1,2, 3\n")
    ids("tabs", "run", "\t1\t2\t3\t\n")
    ids("crlf", "run", "1 2 3\r\n4 5\r\n")
    ids("bom", "run", b"\xef\xbb\xbf1 2 3\n")
    ids("blank-lines", "run", "\n\n1 2\n\n\n3 4\n\n")
    ids("comment", "run", "# hello\n1 2 # tail\n")
    ids("pair", "run", "1 2 | 3 4\n")
    ids("last-id", "run", f"{VOCABULARY - 1}\n")
    ids("minus-one", "run", "1 -1\n")
    ids("minus-vocabulary", "run", f"1 -{VOCABULARY}\n")
    ids("all-positions", "run", "1 " * POSITIONS)
    ids("leading-zeros", "run", "0001 00000000000000000000000000002\n")
    ids("minus-zero", "any", "-0\n")
    for key, text in {"2x": "2x", "float": "1.0", "exponent": "1e5", "plus": "+3", "hex": "0x10", "underscore": "1_000", "minus": "-", "minus-minus": "--3",
                      "inf": "inf", "nan": "nan", "20-digits": "18446744073709551617", "63": "9223372036854775808", "minus-63": "-9223372036854775809",
                      "word": "hello", "quote": "\"1\"", "bracket": "[1, 2]", "arabic": "\u0661", "fullwidth": "\uff11", "nbsp": "1\u00a02",
                      "vocabulary": str(VOCABULARY), "below-minus-vocabulary": f"-{VOCABULARY + 1}", "2-32": str(1 << 32), "min": str(-(1 << 63)), "max": str((1 << 63) - 1)}.items():
        ids(f"bad-{key}", "refuse", f"1 2 3\n4 {text} 5\n")
    ids("bad-nul", "refuse", b"1 2\0 3\n")
    ids("bad-nul-line", "refuse", b"1 2 3\n\0\n")
    ids("bad-control", "refuse", b"1 2\x1b[31m 3\n")
    ids("bad-utf8", "refuse", b"1 \xff 3\n")
    ids("bad-utf16", "refuse", "1 2 3\n".encode("utf-16"))
    ids("bad-binary", "refuse", bytes(range(256)) * 100)
    ids("bad-long-word", "refuse", "1" * 1000000)
    ids("bad-long-letters", "refuse", "x" * 1000000)
    ids("empty", "refuse", "")
    ids("only-comment", "refuse", "# nothing\n")
    ids("only-blank", "refuse", "\n \n\t\n")
    ids("only-bar", "any", "|\n")
    ids("positions-and-one", "refuse", "1 " * (POSITIONS + 1))
    ids("million-ids", "refuse", "1 " * 1000000)
    ids("million-ids-second-line", "refuse", "1 2\n" + "1 " * 1000000 + "\n")
    ids("many-bars", "any", "1 | 2 | 3 |\n")
    ids("cr-only", "any", "1 2\r3 4\r")
    ids("pad-bad", "any", "1 2\n1\n", "--pad", str(VOCABULARY))
    add(g, "missing", "refuse", b"", args=["run", BERT, "--input", "absent.txt"], file="other")
    add(g, "folder", "refuse", b"", args=["run", BERT, "--input", "."], file="other")
    add(g, "fetch-unknown", "refuse", b"1 2\n", args=["run", BERT, "--input", "ids.txt", "--fetch", "nothing"], file="ids.txt")
    add(g, "fetch-odd", "refuse", b"1 2\n", args=["run", BERT, "--input", "ids.txt", "--fetch", "a\n%n'\x1b"], file="ids.txt")
    for i, extra in enumerate((["--threads", "x"], ["--threads", "-1"], ["--max-memory", "12Q"], ["--top-k", "-5"], ["--batch", "0"], ["--nonsense"], ["--verbose", "everything"],
                               ["--threads"], ["--fetch"], ["--top-k", "99999999999999999999"], ["--max-memory", "-1"], ["--threads", "1e9"], ["second.onnx"])):
        add(g, f"usage-{i}", "usage", b"1 2\n", args=["run", BERT, "--input", "ids.txt", *extra], file="ids.txt")
    add(g, "usage-no-model", "usage", b"", args=["run"], file="other")
    add(g, "usage-no-command", "usage", b"", args=["frobnicate"], file="other")


def raw_npy(header, data=b"", version=1, length=None):
    header = header.encode("latin-1") if isinstance(header, str) else header
    n = len(header) if length is None else length
    size = struct.pack("<H", n & 0xFFFF) if version == 1 else struct.pack("<I", n & 0xFFFFFFFF)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def head(descr="<f4", fortran="False", shape="(2, 3)"):
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"


def array_cases():
    g = "13-arrays"
    data = X.tobytes()

    def array(name, verdict, content, expect=POSITIVE, word="x=a.npy"):
        add(g, name, verdict, RELU, files={word.split("=")[-1]: content}, args=["run", "model.onnx", "--input", word], expect={"y": expect} if verdict == "run" else None)

    array("plain", "run", raw_npy(head(), data))
    array("version-2", "run", raw_npy(head(), data, 2))
    array("version-3", "run", raw_npy(head(), data, 3))
    array("padded", "run", raw_npy(head() + " " * 50 + "\n", data))
    array("fortran", "run", npy(np.asfortranarray(X)))
    array("big-endian", "run", npy(X.astype(">f4")))
    array("big-endian-fortran", "run", npy(np.asfortranarray(X.astype(">f4"))))
    array("native", "run", raw_npy(head("=f4"), data))
    array("long-suffix", "run", raw_npy(head(shape="(2L, 3L)"), data))
    array("double-quotes", "run", raw_npy(head().replace("'", '"'), data))
    array("double", "any", npy(X.astype(np.float64)))
    array("integers", "any", npy(X.astype(np.int64)))
    array("trailing", "any", raw_npy(head(), data + b"tail"))
    for key, content in {
            "object": raw_npy(head("|O"), data), "strings": npy(np.array([["a", "b", "c"]] * 2)), "bytes": npy(np.array([[b"a", b"b", b"c"]] * 2)), "void": raw_npy(head("|V4"), data), "date": raw_npy(head("<M8[ns]"), data * 2),
            "record": raw_npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", data), "complex": npy(X.astype(np.complex64)), "short": raw_npy(head(), data[:-1]), "no-data": raw_npy(head()),
            "rank": npy(X[0]), "other-shape": npy(X.T.copy()), "empty-shape": raw_npy(head(shape="()"), data), "zero": npy(np.zeros((0, 3), np.float32)), "zero-huge": raw_npy(head(shape="(0, 9223372036854775807, 9223372036854775807)")),
            "wrap": raw_npy(head(shape="(4611686018427387904, 4)"), data), "wrap-320": raw_npy(head(shape="(4611686018427387984,)"), b"\0" * 320), "huge": raw_npy(head(shape="(1000000, 1000000)"), data), "negative": raw_npy(head(shape="(-2, -3)"), data),
            "dimension-64-bit": raw_npy(head(shape="(18446744073709551618, 3)"), data), "dimension-float": raw_npy(head(shape="(2.0, 3)"), data), "dimension-plus": raw_npy(head(shape="(+2, 3)"), data),
            "dimension-word": raw_npy(head(shape="(x, 3)"), data), "shape-list": raw_npy(head(shape="[2, 3]"), data), "shape-open": raw_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", data), "one-no-comma": raw_npy(head(shape="(6)"), data),
            "rank-100": raw_npy(head(shape="(" + "1," * 100 + ")"), data), "rank-100000": raw_npy(head(shape="(" + "1," * 100000 + ")"), data, 2), "header-bomb": raw_npy(head(), data, 2, 0xFFFFFFFF), "header-long": raw_npy(head(), data, 1, 60000), "header-short": raw_npy(head(), data, 1, 10),
            "header-nested": raw_npy("(" * 60000, data), "header-code": raw_npy("__import__('os').system('true')", data), "header-zero": raw_npy("", data), "header-nul": raw_npy(head().replace(" ", "\0"), data), "header-keys": raw_npy("{'descr': '<f4', 'shape': (2, 3)}", data),
            "header-extra": raw_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", data), "header-twice": raw_npy("{'descr': '<f4', 'descr': '<i4', 'fortran_order': False, 'shape': (2, 3)}", data), "header-binary": raw_npy(bytes(range(200)), data),
            "fortran-odd": raw_npy(head(fortran="Maybe"), data), "descr-empty": raw_npy(head(""), data), "descr-odd": raw_npy(head("<f3"), data), "descr-long": raw_npy(head("<f4" * 10000), data), "descr-percent": raw_npy(head("%n%s"), data), "descr-number": raw_npy(head().replace("'<f4'", "4"), data),
            "version-0": raw_npy(head(), data, 0), "version-9": raw_npy(head(), data, 9), "magic": b"\x93NUMPX\1\0" + b"\0" * 90, "magic-only": b"\x93NUMPY", "empty": b"", "one-byte": b"\x93", "text": b"1 2 3\n4 5 6\n", "pickle": b"\x80\4\x95" + b"\0" * 50,
            "shape-trailing": raw_npy(head() + "x", data)}.items():
        array(f"bad-{key}", "refuse", content)
    for cut in range(6, 80, 9):
        array(f"bad-cut-{cut}", "refuse", npy(X)[:cut])

    def archive(members, method=zipfile.ZIP_STORED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as z:
            for key, content in members:
                z.writestr(key, content)
        return out.getvalue()

    word = "a.npz"
    whole = archive([("x.npy", npy(X))])
    array("npz", "run", whole, word=word)
    array("npz-deflated", "run", archive([("x.npy", npy(X))], zipfile.ZIP_DEFLATED), word=word)
    array("npz-named", "run", whole, word="x=a.npz")
    array("npz-comment", "run", whole[:-2] + struct.pack("<H", 5) + b"hello", word=word)
    array("npz-prefix", "any", b"junk" + whole, word=word)
    array("npz-others", "any", archive([("x.npy", npy(X)), ("readme.txt", b"hi")]), word=word)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = npy(np.zeros((1, 1), np.float32))[:80]
    packed = bomb.compress(zeros + b"\0" * 200000000) + bomb.flush()
    local = struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, 0, 8, 0, 0, 0, len(packed), 200000080, 5, 0) + b"x.npy" + packed

    def directory(offset=0, size=200000080, packed_size=len(packed), entries=1, name=b"x.npy", flags=0, method=8, at=None):
        entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 20, 20, flags, method, 0, 0, 0, packed_size, size, len(name), 0, 0, 0, 0, 0, offset) + name
        return entry + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, entries, entries, len(entry), len(local) if at is None else at, 0)

    array("bad-npz-bomb", "refuse", local + directory(), word=word)
    array("bad-npz-claims-less", "refuse", local + directory(size=100), word=word)
    array("bad-npz-claims-4g", "refuse", local + directory(size=0xFFFFFFF0), word=word)
    array("bad-npz-offset", "refuse", local + directory(offset=0xFFFFFF00), word=word)
    array("bad-npz-packed", "refuse", local + directory(packed_size=0x7FFFFFFF), word=word)
    array("bad-npz-directory-offset", "refuse", local + directory(at=0xFFFFFFF0), word=word)
    array("bad-npz-entries", "refuse", local + directory(entries=60000), word=word)
    array("bad-npz-encrypted", "refuse", local + directory(flags=1), word=word)
    array("bad-npz-method", "refuse", local + directory(method=12), word=word)
    array("bad-npz-crc", "refuse", whole.replace(X.tobytes(), (X + 1).tobytes()), word=word)
    array("bad-npz-absolute", "refuse", archive([("/etc/passwd.npy", npy(X))]), word=word)
    array("bad-npz-up", "refuse", archive([("../x.npy", npy(X))]), word=word)
    array("bad-npz-nul", "refuse", whole.replace(b"x.npy", b"x\0npy"), word=word)
    array("bad-npz-unknown", "refuse", archive([("z.npy", npy(X))]), word=word)
    array("bad-npz-twice", "refuse", archive([("x.npy", npy(X)), ("X.npy", npy(X))]).replace(b"X.npy", b"x.npy"), word=word)
    array("bad-npz-no-npy", "refuse", archive([("x.npy", b"hello")]), word=word)
    array("bad-npz-empty", "refuse", archive([]), word=word)
    array("bad-npz-many", "refuse", archive([(f"x{i}.npy", b"") for i in range(5000)]), word=word)
    array("bad-npz-not", "refuse", b"hello", word=word)
    array("bad-npz-none", "refuse", b"", word=word)
    array("bad-npz-odd-name", "refuse", archive([("%n\n'\x1b.npy", npy(X))]), word=word)
    for cut in range(0, len(whole), 31):
        array(f"bad-npz-cut-{cut}", "refuse", whole[:cut], word=word)
    array("bad-npz-zip64", "refuse", whole[:-22] + struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 63, 1 << 63) + struct.pack("<IIQI", 0x07064b50, 0, (1 << 64) - 8, 1) + whole[-22:], word=word)


def message_cases():
    g = "13-messages"

    def pb(name, verdict, content, expect=POSITIVE, word="x=a.pb"):
        add(g, name, verdict, RELU, files={"a.pb": content}, args=["run", "model.onnx", "--input", word], expect={"y": expect} if verdict == "run" else None)

    whole = tensor("x", X)
    pb("plain", "run", whole)
    pb("own-name", "run", whole, word="a.pb")
    pb("float-data", "run", tensor("x", None, FLOAT, (2, 3), extra=blob(4, X.tobytes())))
    pb("float-unpacked", "run", tensor("x", None, FLOAT, (2, 3), extra=b"".join(fixed32(4, v) for v in X.ravel())))
    pb("unknown-fields", "run", num(99, 1) + whole + blob(98, b"zz") + tag(97, 3) + tag(97, 4))
    pb("dims-packed", "run", blob(1, b"\2\3") + num(2, 1) + blob(9, X.tobytes()))
    pb("reversed", "run", blob(9, X.tobytes()) + num(2, 1) + num(1, 2) + num(1, 3))
    for key, content in {"empty": b"", "short": tensor("x", X)[:-1], "raw-short": tensor("x", None, FLOAT, (2, 3), raw=b"\0" * 23), "wrap": tensor("x", None, FLOAT, ((1 << 62) + 80,), raw=b"\0" * 320), "negative": tensor("x", None, FLOAT, (-2, -3), raw=X.tobytes()),
                         "huge": tensor("x", None, FLOAT, (10 ** 6, 10 ** 6), raw=X.tobytes()), "both": tensor("x", X, extra=blob(4, X.tobytes())), "type-99": tensor("x", None, 99, (2, 3), raw=X.tobytes()), "type-0": tensor("x", None, 0, (2, 3), raw=X.tobytes()),
                         "type-64-bit": tensor("x", None, (1 << 32) + 1, (2, 3), raw=X.tobytes()), "string": tensor("x", None, STRING, (2, 3), extra=blob(6, "a") * 6), "external": external("x", FLOAT, (2, 3), location="/etc/passwd"),
                         "external-beside": external("x", FLOAT, (2, 3), location="model.onnx"), "segment": tensor("x", X, extra=blob(3, num(1, 0))), "rank-1000": tensor("x", None, FLOAT, (1,) * 1000, raw=b"\0" * 4), "too-many": tensor("x", None, FLOAT, (2, 3), extra=blob(4, b"\0" * 28)),
                         "model": RELU, "group-open": whole + tag(50, 3), "deep-groups": whole + tag(50, 3) * 100000, "varint": whole + num(1, 1)[:1] + b"\xff" * 20, "tag-0": whole + b"\0", "text": b"hello", "noise": bytes(range(256)) * 9, "rank": tensor("x", X[0])}.items():
        pb(f"bad-{key}", "refuse", content)
    pb("bad-own-name", "refuse", tensor("%n\n'", X), word="a.pb")
    for cut in range(1, len(whole), 7):
        pb(f"bad-cut-{cut}", "refuse", whole[:cut])

    def verified(name, verdict, files):
        add(g, f"verify-{name}", verdict, RELU, files=files, args=["verify", "model.onnx"])

    folder = "test_data_set_0/"
    good = {folder + "input_0.pb": whole, folder + "output_0.pb": tensor("y", POSITIVE)}
    verified("plain", "run", good)
    verified("wrong", "any", {**good, folder + "output_0.pb": tensor("y", POSITIVE + 1)})
    verified("shape", "any", {**good, folder + "output_0.pb": tensor("y", POSITIVE.T.copy())})
    verified("type", "any", {**good, folder + "output_0.pb": tensor("y", POSITIVE.astype(np.int64))})
    verified("bad-output", "refuse", {**good, folder + "output_0.pb": b"\xff" * 50})
    verified("bad-input", "refuse", {**good, folder + "input_0.pb": b"\xff" * 50})
    verified("no-input", "refuse", {folder + "output_0.pb": tensor("y", POSITIVE)})
    verified("empty-folder", "refuse", {folder + "notes.txt": b""})
    verified("nothing", "refuse", {})


id_cases()
array_cases()
message_cases()
