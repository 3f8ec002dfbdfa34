# SPDX-License-Identifier: Apache-2.0
"""The engines that the benchmark compares, behind one face: Engine(model, threads, precision), declared(),
prepare(inputs), run(), outputs(), run_each(list of inputs).

declared() names the model's inputs and their dimensions, symbols as text. prepare() picks the inputs that the model has
and brings them into the form the engine wants; only run() is timed. load_library() comes first, so that load times are
without it. `computes` says what an engine makes of a precision that it may not have.
"""
import concurrent.futures
import ctypes
import os
import pathlib
import time

import numpy as np

GR_FLOAT, GR_INT64 = 1, 7
NUMPY_TYPES = {GR_FLOAT: ctypes.c_float, GR_INT64: ctypes.c_int64}
TENSOR_TYPES = {"float32": GR_FLOAT, "int64": GR_INT64}
PRECISIONS = {"f32": 0, "bf16": 1, "int8": 2}


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
                ("log_user", ctypes.c_void_p), ("profile", ctypes.c_bool), ("skip_padding", ctypes.c_bool),
                ("precision", ctypes.c_int), ("few_runs", ctypes.c_bool)]


class DimInfo(ctypes.Structure):
    _fields_ = [("value", ctypes.c_int64), ("symbol", ctypes.c_char_p)]


class ValueInfo(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("rank", ctypes.c_int),
                ("dims", ctypes.POINTER(DimInfo)), ("optional", ctypes.c_bool)]


class Sequence(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int64)), ("count", ctypes.c_size_t)]


class GenerateOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("max_new_tokens", ctypes.c_int64), ("num_beams", ctypes.c_int64),
                ("do_sample", ctypes.c_bool), ("temperature", ctypes.c_float), ("top_p", ctypes.c_float),
                ("top_k", ctypes.c_int64), ("seed", ctypes.c_uint64), ("length_penalty", ctypes.c_float),
                ("eos", ctypes.POINTER(ctypes.c_int64)), ("eos_count", ctypes.c_size_t),
                ("max_batch", ctypes.c_size_t), ("copy_cache", ctypes.c_bool)]


class GenerateInfo(ctypes.Structure):
    _fields_ = [("prompt_tokens", ctypes.c_int64), ("new_tokens", ctypes.c_int64), ("steps", ctypes.c_int64),
                ("prompt_seconds", ctypes.c_double), ("step_seconds", ctypes.c_double),
                ("cache_bytes", ctypes.c_size_t), ("cached", ctypes.c_bool), ("in_place", ctypes.c_bool)]


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
        lib.gr_session_pick.argtypes = [void, ctypes.POINTER(ctypes.c_int64), size, err]
        lib.gr_generator_create.argtypes = [void, ctypes.POINTER(SessionOptions), ctypes.POINTER(void), err]
        lib.gr_generator_run.argtypes = [void, ctypes.POINTER(Sequence), size, ctypes.POINTER(GenerateOptions),
                                         ctypes.POINTER(Sequence), err]
        lib.gr_generator_info.argtypes = [void, ctypes.POINTER(GenerateInfo)]
        lib.gr_version_string.restype = lib.gr_onednn_version_string.restype = ctypes.c_char_p
        cls.lib = lib

    @classmethod
    def version(cls):
        return f"graphrun {cls.lib.gr_version_string().decode()} " \
               f"(oneDNN {cls.lib.gr_onednn_version_string().decode()})"

    @staticmethod
    def computes(precision):
        return precision

    def __init__(self, model, threads, precision):
        self.error = Error()
        self.model, self.generator, self.streams = ctypes.c_void_p(), None, None
        self.check(self.lib.gr_model_load(os.fsencode(model), None, self.model, self.error))
        self.options = SessionOptions(struct_size=ctypes.sizeof(SessionOptions), threads=threads, skip_padding=True,
                                      precision=PRECISIONS[precision])
        self.open()
        self.wanted = self.list_values(self.lib.gr_model_input_count, self.lib.gr_model_input)
        self.names = self.list_values(self.lib.gr_model_output_count, self.lib.gr_model_output)

    def open(self):
        self.session = ctypes.c_void_p()
        self.check(self.lib.gr_session_create(self.model, self.options, self.session, self.error))

    def list_values(self, count, describe):
        values = {}
        for i in range(count(self.model)):
            info = ValueInfo()
            describe(self.model, i, info)
            dims = [info.dims[a] for a in range(max(info.rank, 0))]
            values[info.name] = [d.symbol.decode() if d.symbol else d.value for d in dims]
        return values

    def declared(self):
        return {name.decode(): dims for name, dims in self.wanted.items()}

    def pick(self, rows):
        """Of outputs [batch, tokens, ..] these rows are wanted."""
        self.check(self.lib.gr_session_pick(self.session, (ctypes.c_int64 * len(rows))(*rows), len(rows), self.error))

    def check(self, status):
        if status:
            raise SystemExit(f"bench: graphrun: {self.error.text.decode()}")

    def prepare(self, inputs):
        self.kept = {name: np.ascontiguousarray(array) for name, array in inputs.items()
                     if name.encode() in self.wanted}
        self.inputs = (NamedTensor * len(self.kept))()
        for slot, (name, array) in zip(self.inputs, self.kept.items()):
            dims = (ctypes.c_int64 * array.ndim)(*array.shape)
            slot.name = name.encode()
            slot.tensor = TensorView(TENSOR_TYPES[array.dtype.name], array.ndim, dims, array.ctypes.data, array.nbytes)
        self.results = (NamedTensor * len(self.names))()

    def run(self):
        for slot, name in zip(self.results, self.names):
            slot.name, slot.tensor = name, TensorView()
        self.check(self.lib.gr_session_run(self.session, self.inputs, len(self.inputs), self.results,
                                           len(self.results), self.error))

    def run_each(self, batches):
        """As the header advises for many sequences: a thread each for sessions of one thread, on one model. The largest
        batches go first, so that the threads end at about the same time."""
        if not self.streams:
            self.streams = [Stream(self) for _ in range(self.options.threads)]
        left = iter(sorted(batches, key=lambda inputs: -inputs["input_ids"].size))
        with concurrent.futures.ThreadPoolExecutor(len(self.streams)) as pool:
            list(pool.map(lambda stream: stream.run_all(left), self.streams))

    def outputs(self):
        arrays = {}
        for slot in self.results:
            view = slot.tensor
            pointer = ctypes.cast(view.data, ctypes.POINTER(NUMPY_TYPES[view.type]))
            arrays[slot.name.decode()] = np.ctypeslib.as_array(pointer, tuple(view.dims[:view.rank])).copy()
        return arrays

    def generate(self, prompt, new):
        """Greedily; the tokens, the seconds until the first of them, and the seconds of each further one."""
        if not self.generator:
            self.generator = ctypes.c_void_p()
            self.check(self.lib.gr_generator_create(self.model, self.options, self.generator, self.error))
        ids = (ctypes.c_int64 * len(prompt))(*prompt)
        given, result, info = Sequence(ids, len(prompt)), Sequence(), GenerateInfo()
        options = GenerateOptions(struct_size=ctypes.sizeof(GenerateOptions), max_new_tokens=new)
        self.check(self.lib.gr_generator_run(self.generator, given, 1, options, result, self.error))
        self.lib.gr_generator_info(self.generator, info)
        return result.ids[:result.count], info.prompt_seconds, info.step_seconds / max(info.steps, 1)


class Stream(Graphrun):
    """One more session of a loaded model, with one thread."""

    def __init__(self, engine):
        self.error, self.model = Error(), engine.model
        self.wanted, self.names = engine.wanted, engine.names
        self.options = SessionOptions.from_buffer_copy(engine.options)
        self.options.threads = 1
        self.open()

    def run_all(self, left):
        for inputs in left:
            self.prepare(inputs)
            self.run()


class Peer:
    """What the other engines share."""

    rows = None

    def run_each(self, batches):
        for inputs in batches:
            self.prepare(inputs)
            self.run()

    def pick(self, rows):
        """They compute all rows; the wanted ones are taken from them where values are compared."""
        self.rows = rows

    def outputs(self):
        results = {name: np.array(array) for name, array in self.results_by_name().items()}
        if self.rows is not None:
            results = {name: array.reshape(-1, array.shape[-1])[self.rows] for name, array in results.items()}
        return results

    def generate(self, prompt, new):
        """As graphrun does; the cache goes through the caller's hands, which do not copy it."""
        cache = {name: np.zeros([1 if a == 0 else 0 if isinstance(d, str) else d for a, d in enumerate(dims)],
                                np.float32)
                 for name, dims in self.declared().items() if name.startswith("past_key_values")}
        fresh, tokens, times = np.array([prompt], np.int64), [], []
        while len(tokens) < new:
            start = time.perf_counter()
            seen = len(prompt) + len(tokens) - fresh.shape[1]
            results = self.step({"input_ids": fresh, "attention_mask": np.ones((1, seen + fresh.shape[1]), np.int64),
                                 "position_ids": np.arange(seen, seen + fresh.shape[1])[None], **cache})
            cache = {name: results[name.replace("past_key_values", "present")] for name in cache}
            tokens.append(int(results["logits"][0, -1].argmax()))
            fresh = np.array([tokens[-1:]], np.int64)
            times.append(time.perf_counter() - start)
        return tokens, times[0], sum(times[1:]) / max(len(times) - 1, 1)


class OnnxRuntime(Peer):
    """ONNX Runtime as its Python users call it, with its default optimizations."""

    @classmethod
    def load_library(cls):
        import onnxruntime

        cls.lib = onnxruntime
        onnxruntime.set_default_logger_severity(3)

    @classmethod
    def version(cls):
        return f"ONNX Runtime {cls.lib.__version__}"

    @staticmethod
    def computes(precision):
        return "f32" if precision == "bf16" else precision  # int8 is the file's

    def __init__(self, model, threads, precision):
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = self.lib.InferenceSession(os.fspath(model), options, providers=["CPUExecutionProvider"])

    def declared(self):
        return {i.name: list(i.shape) for i in self.session.get_inputs()}

    def prepare(self, inputs):
        self.inputs = {i.name: inputs[i.name] for i in self.session.get_inputs() if i.name in inputs}

    def run(self):
        self.results = self.session.run(None, self.inputs)

    def results_by_name(self):
        return {o.name: array for o, array in zip(self.session.get_outputs(), self.results)}

    def step(self, inputs):
        """Outputs by name; the cache stays in the library's own tensors."""
        binding = self.session.io_binding()
        for i in self.session.get_inputs():
            value = inputs[i.name]
            bind = binding.bind_cpu_input if isinstance(value, np.ndarray) else binding.bind_ortvalue_input
            bind(i.name, value)
        for o in self.session.get_outputs():
            binding.bind_output(o.name, "cpu")
        self.session.run_with_iobinding(binding)
        results = {o.name: value for o, value in zip(self.session.get_outputs(), binding.get_outputs())}
        return {**results, "logits": results["logits"].numpy()}


class OpenVino(Peer):
    """OpenVINO, tuned for latency. Optional: needs requirements-openvino.txt."""

    @classmethod
    def load_library(cls):
        import openvino

        cls.lib = openvino

    @classmethod
    def version(cls):
        return f"OpenVINO {cls.lib.__version__.split('-')[0]}"

    @classmethod
    def computes(cls, precision):
        if precision == "bf16" and "BF16" not in cls.lib.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "f32"
        return precision

    def __init__(self, model, threads, precision):
        core = self.lib.Core()
        hint = "bf16" if self.computes(precision) == "bf16" else "f32"
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        self.compiled = core.compile_model(os.fspath(model), "CPU", settings)
        self.request, self.spare = self.compiled.create_infer_request(), None

    def declared(self):
        dims = lambda port: [d.get_length() if d.is_static else "?" for d in port.partial_shape]
        return {port.any_name: dims(port) for port in self.compiled.inputs}

    def prepare(self, inputs):
        names = [port.any_name for port in self.compiled.inputs]
        self.inputs = {name: inputs[name] for name in names if name in inputs}

    def run(self):
        self.results = self.request.infer(self.inputs, share_inputs=True, share_outputs=True)

    def results_by_name(self):
        return {port.any_name: array for port, array in self.results.items()}

    def step(self, inputs):
        """Outputs by name without a copy; the next run has a request of its own, so that it may read them."""
        self.prepare(inputs)
        self.run()
        self.request, self.spare = self.spare or self.compiled.create_infer_request(), self.request
        return self.results_by_name()


ENGINES = {"graphrun": Graphrun, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
