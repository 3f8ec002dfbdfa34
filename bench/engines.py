# SPDX-License-Identifier: Apache-2.0
"""The engines that the benchmark compares, behind one face: Engine(model, threads), prepare(inputs), run(), outputs().

prepare() picks the inputs that the model has and brings them into the form the engine wants; only run() is timed.
load_library() comes first, so that load times are without it.
"""
import ctypes
import os
import pathlib

import numpy as np

GR_FLOAT, GR_INT64 = 1, 7
NUMPY_TYPES = {GR_FLOAT: ctypes.c_float, GR_INT64: ctypes.c_int64}


class TensorView(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("rank", ctypes.c_int), ("dims", ctypes.POINTER(ctypes.c_int64)),
                ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class NamedTensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensor", TensorView)]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 2048)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("threads", ctypes.c_int), ("max_memory", ctypes.c_size_t),
                ("max_plans", ctypes.c_int), ("max_iterations", ctypes.c_int64), ("log", ctypes.c_void_p),
                ("log_user", ctypes.c_void_p), ("profile", ctypes.c_bool), ("skip_padding", ctypes.c_bool)]


class DimInfo(ctypes.Structure):
    _fields_ = [("value", ctypes.c_int64), ("symbol", ctypes.c_char_p)]


class ValueInfo(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("rank", ctypes.c_int),
                ("dims", ctypes.POINTER(DimInfo)), ("optional", ctypes.c_bool)]


class Graphrun:
    """libgraphrun through its C API."""

    lib = None

    @classmethod
    def load_library(cls):
        path = os.environ.get("GRAPHRUN_LIBRARY")
        if not path or not pathlib.Path(path).exists():
            raise SystemExit("bench: set GRAPHRUN_LIBRARY to libgraphrun.so")
        lib = ctypes.CDLL(path)
        void, size, err = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Error)
        named = ctypes.POINTER(NamedTensor)
        lib.gr_model_load.argtypes = [ctypes.c_char_p, void, ctypes.POINTER(void), err]
        lib.gr_session_create.argtypes = [void, ctypes.POINTER(SessionOptions), ctypes.POINTER(void), err]
        lib.gr_session_run.argtypes = [void, named, size, named, size, err]
        lib.gr_model_output_count.argtypes, lib.gr_model_output_count.restype = [void], size
        lib.gr_model_input_count.argtypes, lib.gr_model_input_count.restype = [void], size
        lib.gr_model_output.argtypes = lib.gr_model_input.argtypes = [void, size, ctypes.POINTER(ValueInfo)]
        lib.gr_version_string.restype = lib.gr_onednn_version_string.restype = ctypes.c_char_p
        cls.lib = lib

    @classmethod
    def version(cls):
        return f"graphrun {cls.lib.gr_version_string().decode()} " \
               f"(oneDNN {cls.lib.gr_onednn_version_string().decode()})"

    def __init__(self, model, threads):
        self.error = Error()
        self.model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.lib.gr_model_load(os.fsencode(model), None, self.model, self.error))
        options = SessionOptions(struct_size=ctypes.sizeof(SessionOptions), threads=threads, skip_padding=True)
        self.check(self.lib.gr_session_create(self.model, options, self.session, self.error))
        self.wanted = self.list_names(self.lib.gr_model_input_count, self.lib.gr_model_input)
        self.names = self.list_names(self.lib.gr_model_output_count, self.lib.gr_model_output)

    def list_names(self, count, describe):
        names = []
        for i in range(count(self.model)):
            info = ValueInfo()
            describe(self.model, i, info)
            names.append(info.name)
        return names

    def check(self, status):
        if status:
            raise SystemExit(f"bench: graphrun: {self.error.text.decode()}")

    def prepare(self, inputs):
        self.kept = {name: np.ascontiguousarray(array, np.int64) for name, array in inputs.items()
                     if name.encode() in self.wanted}
        self.inputs = (NamedTensor * len(self.kept))()
        for slot, (name, array) in zip(self.inputs, self.kept.items()):
            dims = (ctypes.c_int64 * array.ndim)(*array.shape)
            slot.name = name.encode()
            slot.tensor = TensorView(GR_INT64, array.ndim, dims, array.ctypes.data, array.nbytes)
        self.results = (NamedTensor * len(self.names))()

    def run(self):
        for slot, name in zip(self.results, self.names):
            slot.name, slot.tensor = name, TensorView()
        self.check(self.lib.gr_session_run(self.session, self.inputs, len(self.inputs), self.results,
                                           len(self.results), self.error))

    def outputs(self):
        arrays = {}
        for slot in self.results:
            view = slot.tensor
            pointer = ctypes.cast(view.data, ctypes.POINTER(NUMPY_TYPES[view.type]))
            arrays[slot.name.decode()] = np.ctypeslib.as_array(pointer, tuple(view.dims[:view.rank])).copy()
        return arrays


class OnnxRuntime:
    """ONNX Runtime as its Python users call it, with its default optimizations."""

    @classmethod
    def load_library(cls):
        import onnxruntime

        cls.lib = onnxruntime
        onnxruntime.set_default_logger_severity(3)

    @classmethod
    def version(cls):
        return f"ONNX Runtime {cls.lib.__version__}"

    def __init__(self, model, threads):
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = self.lib.InferenceSession(os.fspath(model), options, providers=["CPUExecutionProvider"])

    def prepare(self, inputs):
        self.inputs = {i.name: inputs[i.name] for i in self.session.get_inputs() if i.name in inputs}

    def run(self):
        self.results = self.session.run(None, self.inputs)

    def outputs(self):
        return {o.name: array for o, array in zip(self.session.get_outputs(), self.results)}


class OpenVino:
    """OpenVINO, f32, tuned for latency. Optional: needs requirements-openvino.txt."""

    @classmethod
    def load_library(cls):
        import openvino

        cls.lib = openvino

    @classmethod
    def version(cls):
        return f"OpenVINO {cls.lib.__version__.split('-')[0]}"

    def __init__(self, model, threads):
        core = self.lib.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = core.compile_model(os.fspath(model), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def prepare(self, inputs):
        names = [port.any_name for port in self.compiled.inputs]
        self.inputs = {name: inputs[name] for name in names if name in inputs}

    def run(self):
        self.results = self.request.infer(self.inputs, share_inputs=True, share_outputs=True)

    def outputs(self):
        return {port.any_name: np.array(array) for port, array in self.results.items()}


ENGINES = {"graphrun": Graphrun, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
