#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the textual syntax against onnx.parser and onnx.printer (onnx 1.23).

    text_onnx.py CONVERT FOLDER

CONVERT is the program text_convert; every FOLDER/*.onnx and FOLDER/*/model.onnx is tried:
  - text of the model, read back and saved, is the model in every field;
  - the same text goes through onnx.parser to the model, but for what ONNX's grammar has no place for;
  - the text of the text is the text, with every constant, with short ones only, and with dense ones;
  - what onnx.printer writes is read to the model, as far as it can write it.
"""
import difflib
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import onnx
import onnx.numpy_helper
import onnx.parser
import onnx.printer


def is_word(name):
    return name.isascii() and name.isidentifier()


def canonical_tensor(tensor):
    """One storage for all ways to hold a tensor's data."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    tensor.ClearField("data_location")
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    array = onnx.numpy_helper.to_array(tensor).tobytes()
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.raw_data = array


def canonical(message, plain):
    """Empty strings count as absent. `plain`: without what the grammar has no place for."""
    kind = message.DESCRIPTOR.name
    if kind == "TensorProto":
        canonical_tensor(message)
    if plain and kind not in ("ModelProto", "FunctionProto", "StringStringEntryProto"):
        message.ClearField("doc_string") if "doc_string" in message.DESCRIPTOR.fields_by_name else None
    if plain and kind not in ("ModelProto", "StringStringEntryProto"):
        message.ClearField("metadata_props") if "metadata_props" in message.DESCRIPTOR.fields_by_name else None
    if plain and kind in ("TypeProto", "Dimension"):
        message.ClearField("denotation")
    if plain and kind == "AttributeProto":
        for tensor in [message.t] if message.HasField("t") else []:
            tensor.name = tensor.name if is_word(tensor.name) else ""
        for graph in [message.g] if message.HasField("g") else []:
            graph.name = graph.name if is_word(graph.name) else "subgraph"
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if isinstance(value, list) or hasattr(value, "add") else [value]:
                canonical(item, plain)
        elif field.type == field.TYPE_STRING and value == "" and kind != "Dimension":
            message.ClearField(field.name)


def difference(model, other, plain):
    """Empty if the models are the same, else the first lines that differ."""
    texts = []
    for message in (model, other):
        copy = onnx.ModelProto()
        copy.CopyFrom(message)
        canonical(copy, plain)
        texts.append(copy)
    if texts[0].SerializeToString(deterministic=True) == texts[1].SerializeToString(deterministic=True):
        return ""
    lines = difflib.unified_diff(*(str(text).splitlines() for text in texts), lineterm="", n=3)
    return "\n".join(list(lines)[:20]) or "only the bytes differ"


class Checker:
    def __init__(self, convert, folder):
        self.convert, self.folder = convert, folder
        self.failures = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, source, target, *options):
        result = subprocess.run([self.convert, source, target, *options], capture_output=True, text=True, check=False)
        return result.stderr.strip() or (f"exit {result.returncode}" if result.returncode else "")

    def expect(self, good, case, what):
        if not good:
            self.failures += 1
            print(f"{case}: {what}")

    def read(self, name):
        with open(self.path(name), encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def check_stable(self, source, case):
        for options in ((), ("16",), ("0",), ("1000000000", "16")):
            first = self.run(source, self.path("a.onnxtxt"), *options)
            second = self.run(self.path("a.onnxtxt"), self.path("b.onnxtxt"), *options)
            self.expect(not first and not second, case, f"print {options}: {first} {second}")
            self.expect(self.read("a.onnxtxt") == self.read("b.onnxtxt"), case, f"print {options} is not stable")

    def check_back(self, model, whole, source, case, sayable=True):
        self.run(source, self.path("a.onnxtxt"))
        problem = self.run(self.path("a.onnxtxt"), self.path("c.onnx"))
        self.expect(not problem, case, f"saving the text: {problem}")
        if not problem:
            found = difference(whole, onnx.load(self.path("c.onnx")), False)
            self.expect(not found, case, f"the text does not give the model:\n{found}")
        if not sayable:
            return
        try:
            parsed = onnx.parser.parse_model(self.read("a.onnxtxt"))
            found = difference(model, parsed, True)
            self.expect(not found, case, f"onnx.parser does not get the model from the text:\n{found}")
        except onnx.parser.ParseError as error:
            self.expect(False, case, f"onnx.parser: {str(error)[:200]}")

    def check_printer(self, model, case):
        text = onnx.printer.to_text(model)
        with open(self.path("p.onnxtxt"), "w", encoding="utf-8", newline="") as file:
            file.write(text)
        elided = "...," in text or "...>" in text
        problem = self.run(self.path("p.onnxtxt"), self.path("q.onnxtxt" if elided else "q.onnx"))
        self.expect(not problem, case, f"what onnx.printer wrote: {problem}")
        if not problem and not elided:
            read = onnx.load(self.path("q.onnx"), load_external_data=False)
            printed = onnx.ModelProto()
            printed.CopyFrom(model)
            for function in printed.functions:  # onnx.printer leaves these out
                function.ClearField("doc_string")
            found = difference(printed, read, True)
            self.expect(not found, case, f"what onnx.printer wrote does not give the model:\n{found}")

    def check(self, source):
        case = os.path.relpath(source, os.path.dirname(os.path.dirname(source)))
        for name in os.listdir(os.path.dirname(source)):
            data = os.path.join(os.path.dirname(source), name)
            if os.path.isfile(data) and not name.endswith(".onnx"):
                shutil.copyfile(data, self.path(name))
        model, whole = onnx.load(source, load_external_data=False), onnx.load(source)
        self.check_stable(source, case)
        self.check_back(model, whole, source, case)
        if model == whole:
            self.check_printer(model, case)

    def check_odd(self, model, case, sayable):
        source = self.path("odd.onnx")
        onnx.save(model, source)
        self.check_stable(source, case)
        self.check_back(model, model, source, case, sayable)


ODD_NAMES = ("a.b", "/x/y_0", 'quo"te', "back\\slash\\", "two\nlines", "float", "seq", "1", " ", "é", "#", "inf", "%n")


def plain_model():
    """What onnx.parser can read but does not come up in exports: names, types, storage."""
    tp = onnx.TensorProto
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21, "com.float.x_1" : 1], domain: "d", model_version: -3,
            metadata_props: ["k": "v", "": "a\nb"]>
        g (float[1] x, seq(optional(float[N,?])) s, map(string, seq(int64[])) m, optional(sparse_tensor(double[3,4])) o,
           opaque() p, string t) => (float[] y) <
           float[3] nans = {nan, -nan, -inf}, double[2] d = {1e-320, 0.1}, complex64[1] c = {1, -2.5},
           complex128[2] cc = {1, 2, 3e300, 4}, string[2] st = {"", "a\\"b\\\\"}, bool b = {1}, uint64 u = {18446744073709551615},
           int64 i = {-9223372036854775808}, float16[2] h = {1, 64512}, float8e4m3fn[2] f8 = {255, 0}, float[0,3] e = {},
           uint4[3] u4 = {33, 5}, int2[5] i2 = {27, 1}, float4e2m1[3] f4 = {17, 2} > {
           y, "" = com.float.x_1.map:ov <seq: int = 1, floats_: floats = [], no: ints = [], is: int = -0, type: type_proto = seq(float),
              lone: float = 1, big: float = 3.4028235e38, tiny: float = 1e-45, strs: strings = ["", "x"]> (x, "", x, "")
           = Sink ()
           z = If (b) <then_branch: graph = t () => (float y) { y = Constant <value: tensor = float k {0.1}> () },
                       else_branch: graph = e () => (float y) <float w = {1}> { y = Neg (w) }>
        }
        <domain: "com.float.x_1", opset_import: ["" : 21], overload: "ov", doc_string: "two\nlines">
        map <seq, other, alpha: float = 0.5> (a, b) => (c) <float[N] t> { c = A <v: float = @alpha, w: ints = @seq> (a) }"""
    )
    for i, name in enumerate(ODD_NAMES):
        model.graph.node.add(op_type="Neg", input=[name], output=[name + "_"], name=name)
        model.graph.initializer.append(onnx.helper.make_tensor(name, tp.FLOAT, [1], [i / 7]))
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name + "_", tp.FLOAT, [name or "n", None, 2]))
    return model


def odd_model():
    """What only notes and our additions to the grammar can say."""
    helper, tp = onnx.helper, onnx.TensorProto
    model = plain_model()
    graph = model.graph
    tensor = helper.make_tensor("odd/name", tp.FLOAT, [2], [1, 2])
    tensor.doc_string = 'tensor "doc"\nwith \\ lines\n'
    tensor.metadata_props.add(key="a\nb", value="")
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sp", tp.FLOAT, [2], [1, 2]), helper.make_tensor("", tp.INT64, [2], [0, 5]), [3, 4])
    graph.sparse_initializer.append(sparse)
    graph.initializer[0].doc_string = "initializer"
    payload = graph.initializer.add(name="payload", data_type=tp.FLOAT, dims=[3])
    payload.raw_data = bytes.fromhex("0100c07f 0100807f ffffffff".replace(" ", ""))
    payload = graph.initializer.add(name="payload64", data_type=tp.DOUBLE, dims=[1])
    payload.raw_data = bytes.fromhex("010000000000f87f")
    node = graph.node.add(op_type="odd op", domain="pkg.torch.2.1.0", output=["odd"], overload="o v", doc_string="node\n")
    node.metadata_props.add(key="stack", value='File "x", line 1\n  y()\n')
    node.attribute.extend([
        helper.make_attribute("odd attr", 1), helper.make_attribute("t", tensor), helper.make_attribute("sp", sparse),
        helper.make_attribute("ts", [tensor, tensor]), helper.make_attribute("sps", [sparse, sparse]),
        helper.make_attribute("types", [graph.input[1].type, graph.input[3].type]), helper.make_attribute("bytes", b"\xff\0\x80"),
    ])
    node.attribute[0].doc_string = "attribute"
    body = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "torch-jit-export", [], [], doc_string="sub\ngraph")
    node.attribute.append(helper.make_attribute("gs", [body, body]))
    graph.doc_string = "graph"
    graph.metadata_props.add(key="k", value="v")
    graph.input[0].doc_string = "input"
    graph.input[0].type.denotation = "TENSOR"
    graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    graph.input[1].type.sequence_type.elem_type.optional_type.elem_type.denotation = "IMAGE"
    graph.value_info.append(helper.make_tensor_value_info("un", tp.UNDEFINED, ["a", 2]))
    graph.value_info.add(name="untyped").metadata_props.add(key="m", value="n")
    model.functions[0].metadata_props.add(key="f", value="g")
    return model


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sources = sorted(glob.glob(os.path.join(sys.argv[2], "*.onnx")) + glob.glob(os.path.join(sys.argv[2], "*", "model.onnx")))
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(sys.argv[1], folder)
        checker.check_odd(plain_model(), "plain model", True)
        checker.check_odd(odd_model(), "odd model", False)
        for source in sources:
            checker.check(source)
    print(f"{len(sources)} models, {checker.failures} failures")
    sys.exit(checker.failures > 0 or not sources)


if __name__ == "__main__":
    main()
