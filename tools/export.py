#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a Hugging Face model into an ONNX file with inputs and reference outputs.

    python3 -m venv .venv && .venv/bin/pip install -r tools/requirements-export.txt
    .venv/bin/python tools/export.py bert-base-uncased --output bert          a checkpoint of the hub
    .venv/bin/python tools/export.py ./my-model --task sequence-classification --output cls      one of yours
    .venv/bin/python tools/export.py --config roberta --layers 2 --hidden 64 --heads 4 --intermediate 128 --vocab 500 \\
        --task masked-lm --opset 14 --attention eager --output tiny           random weights

The output folder gets model.onnx (and model.onnx.data), config.json, the checkpoint's vocabulary if it has one, and one
test_data_set_N per shape: input_I.pb in the order of the graph's inputs, output_I.pb as PyTorch computes in float32.
`graphrun verify FOLDER` runs them. Outputs and module paths keep the names that the exporters give them.
"""
import argparse
import contextlib
import inspect
import logging
import pathlib
import shutil
import sys
import tempfile
import warnings

import numpy as np
import onnx
import torch
import transformers
from onnx import numpy_helper
from transformers import masking_utils
from transformers.utils import cached_file

TASKS = {  # class that loads the model, its outputs in order
    "feature-extraction": ("AutoModel", ["last_hidden_state", "pooler_output"]),
    "masked-lm": ("AutoModelForMaskedLM", ["logits"]),
    "pretraining": ("AutoModelForPreTraining",
                    ["prediction_logits", "seq_relationship_logits", "sop_logits", "logits"]),
    "next-sentence": ("AutoModelForNextSentencePrediction", ["logits"]),
    "causal-lm": ("AutoModelForCausalLM", ["logits"]),
    "sequence-classification": ("AutoModelForSequenceClassification", ["logits"]),
    "token-classification": ("AutoModelForTokenClassification", ["logits"]),
    "question-answering": ("AutoModelForQuestionAnswering", ["start_logits", "end_logits"]),
    "multiple-choice": ("AutoModelForMultipleChoice", ["logits"]),
}
ALIASES = {"base": "feature-extraction"}
PRESETS = {  # where the published checkpoints differ from the defaults of their class
    "minilm": ("bert", {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12,
                        "intermediate_size": 1536}),
    "roberta": ("roberta", {"type_vocab_size": 1, "max_position_embeddings": 514, "layer_norm_eps": 1e-5}),
}
VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
              "special_tokens_map.json", "spiece.model", "sentencepiece.bpe.model")
DEFAULT_OPSET = {"torchscript": 17, "dynamo": 18}
TOLERANCE = 1e-4


class Refusal(Exception):
    """A wish that cannot be met, told in one sentence."""


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", help="folder of a checkpoint, or its name on the hub")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--task", choices=[*TASKS, *ALIASES], default="feature-extraction")
    parser.add_argument("--opset", type=int, help="default: 17 for torchscript, 18 for dynamo")
    parser.add_argument("--exporter", choices=DEFAULT_OPSET, default="torchscript")
    parser.add_argument("--attention", choices=("eager", "sdpa"), help="default: what transformers chooses")
    parser.add_argument("--external-data", action="store_true", help="weights in model.onnx.data")
    parser.add_argument("--outputs", default="", help="also these: hidden_states, attentions (comma-separated)")
    parser.add_argument("--inputs", default="", help="feed these instead of what the model is used with "
                        "(comma-separated: input_ids, attention_mask, token_type_ids, position_ids)")
    parser.add_argument("--sets", default="", metavar="SHAPES",
                        help="shapes of the data sets, batch x tokens (x choices): 1x7,3x13,2x1. "
                             "Rows after the first are shorter, so that padding is tried")
    parser.add_argument("--seed", type=int, default=0)
    group = parser.add_argument_group("random weights instead of a checkpoint")
    group.add_argument("--config", help="a config.json, or a model type: bert, distilbert, roberta, albert, electra, "
                       "gpt2, minilm, …")
    for name in ("layers", "hidden", "heads", "intermediate", "vocab", "positions"):
        group.add_argument(f"--{name}", type=int)
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any field of the configuration")
    parser.add_argument("--labels", type=int, help="classes of a classification head")
    o = parser.parse_args(arguments)
    o.task = ALIASES.get(o.task, o.task)
    o.opset = o.opset or DEFAULT_OPSET[o.exporter]
    if (o.checkpoint is None) == (o.config is None):
        parser.error("give either a checkpoint or --config")
    sizes = {"num_hidden_layers": o.layers, "hidden_size": o.hidden, "num_attention_heads": o.heads,
             "intermediate_size": o.intermediate, "vocab_size": o.vocab, "max_position_embeddings": o.positions}
    o.sizes = {name: value for name, value in sizes.items() if value is not None}
    if o.checkpoint and (o.sizes or o.set):
        parser.error("sizes come from the checkpoint; they go with --config")
    o.outputs = split_names(parser, o.outputs, {"hidden_states", "attentions"})
    o.inputs = split_names(parser, o.inputs, {"input_ids", "attention_mask", "token_type_ids", "position_ids"})
    if "attentions" in o.outputs and o.attention != "eager":
        parser.error("attentions exist with --attention eager only")
    return o


def split_names(parser, text, known):
    names = [n for n in text.split(",") if n]
    for name in names:
        if name not in known:
            parser.error(f"'{name}' is none of {', '.join(sorted(known))}")
    return names


# -- the model -----------------------------------------------------------------------------------------------------


def parse_value(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def make_config(o):
    """The configuration of a model with random weights. Models call their sizes differently; most have aliases."""
    if pathlib.Path(o.config).is_file():
        config = transformers.AutoConfig.from_pretrained(o.config)
    else:
        kind, fields = PRESETS.get(o.config, (o.config, {}))
        config = transformers.AutoConfig.for_model(kind, **fields)
    other = {"intermediate_size": ("hidden_dim", "n_inner")}
    for name, value in o.sizes.items():
        name = next((n for n in (name, *other.get(name, ())) if hasattr(config, n)), name)
        setattr(config, name, value)
    if "hidden_size" in o.sizes and getattr(config, "embedding_size", 0) > config.hidden_size:
        config.embedding_size = config.hidden_size
    for item in o.set:
        key, equals, value = item.partition("=")
        if not equals or not hasattr(config, key):
            raise Refusal(f"--set {item}: the configuration of '{config.model_type}' has no such field")
        setattr(config, key, parse_value(value))
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if (getattr(config, key, None) or 0) >= config.vocab_size:
            setattr(config, key, config.vocab_size - 1)
    if o.labels:
        config.num_labels = o.labels
    return config


def make_random(o, loader):
    config = make_config(o)
    adapt(o, config)
    # The usual 0.02 makes every attention uniform and every logit small in a narrow model, which hides errors.
    if not any(item.startswith("initializer_range=") for item in o.set):
        config.initializer_range = config.hidden_size**-0.5
    torch.manual_seed(o.seed)
    model = loader.from_config(config, attn_implementation=o.attention)
    # Fresh models have zero biases and LayerNorm weights of one: a run that drops one would not be noticed.
    generator = torch.Generator().manual_seed(o.seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def adapt(o, config):
    """Settings of the task that a configuration or checkpoint does not say by itself."""
    config.use_cache = False
    if o.task == "causal-lm" and hasattr(config, "is_decoder"):
        config.is_decoder = True
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0


def mask_by_broadcasting(mask_function, bh_indices=True):
    """In place of transformers' nested vmap, which neither exporter can trace: the same function on index grids."""

    def mask(batch, head, query, key):
        grid = [i.reshape([-1 if axis == n else 1 for axis in range(4)])
                for n, i in enumerate((batch, head, query, key))]
        return mask_function(*grid).expand(batch.shape[0], -1, -1, -1)

    return mask


def make_masks_traceable():
    masking_utils._vmap_for_bhqkv = mask_by_broadcasting
    masking_utils.TransformGetItemToIndex = contextlib.nullcontext


def load_model(o):
    loader = getattr(transformers, TASKS[o.task][0])
    if o.config:
        model = make_random(o, loader)
    else:
        config = transformers.AutoConfig.from_pretrained(o.checkpoint, **({"num_labels": o.labels} if o.labels else {}))
        adapt(o, config)
        model = loader.from_pretrained(o.checkpoint, config=config, attn_implementation=o.attention)
    return model.float().eval()


# -- inputs and outputs --------------------------------------------------------------------------------------------


def choose_inputs(o, model):
    """The inputs that the model's users feed: GPT-2 takes token types but has none of its own, RoBERTa has only one."""
    accepted = inspect.signature(model.forward).parameters
    names = o.inputs or ["input_ids", "attention_mask"]
    if not o.inputs and "token_type_ids" in accepted and getattr(model.config, "type_vocab_size", 1) > 1:
        names.append("token_type_ids")
    for name in names:
        if name not in accepted:
            raise Refusal(f"a '{model.config.model_type}' model has no input '{name}'")
    return names


def parse_shapes(o):
    choice = o.task == "multiple-choice"
    shapes = []
    for item in (o.sets or ("1x7x2,2x13x3" if choice else "1x7,3x13,2x1")).split(","):
        try:
            dims = tuple(int(n) for n in item.split("x"))
        except ValueError:
            dims = ()
        if len(dims) != (3 if choice else 2) or min(dims) < 1:
            form = "batch x tokens x choices" if choice else "batch x tokens"
            raise Refusal(f"--sets {item}: the shape of this task is {form}")
        shapes.append((dims[0], dims[2], dims[1]) if choice else dims)
    return shapes


def check_lengths(model, shapes):
    """RoBERTa and its kin number positions from the padding id on, so that some of their positions are never used."""
    positions = getattr(model.config, "max_position_embeddings", None)
    table = next((m for n, m in model.named_modules() if n.endswith("position_embeddings")), None)
    if positions and getattr(table, "padding_idx", None) is not None:
        positions -= table.padding_idx + 1
    longest = max(shape[-1] for shape in shapes)
    if positions and longest > positions:
        raise Refusal(f"--sets: {longest} tokens are more than the model's {positions} positions")


def make_inputs(model, names, shape, rng):
    """Random ids; the first row is full, the others end earlier; token types are 0, then 1 over the live part."""
    config, rows, tokens = model.config, int(np.prod(shape[:-1])), shape[-1]
    lengths = np.full(rows, tokens)
    lengths[1:] = rng.integers(max(1, tokens // 3), tokens + 1, rows - 1)
    lengths = lengths.reshape(*shape[:-1], 1)
    place = np.broadcast_to(np.arange(tokens), shape)
    live = place < lengths
    low = min(config.pad_token_id + 1, config.vocab_size - 1)
    ids = np.where(live, rng.integers(low, config.vocab_size, shape), config.pad_token_id)
    arrays = {"input_ids": ids, "attention_mask": live, "token_type_ids": live & (place >= lengths // 2),
              "position_ids": place}
    return {name: torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.int64)) for name in names}


def wanted_outputs(o, result):
    """Pairs of name and path into the model's result, in the order of the file."""
    pairs = [(name, (name,)) for name in TASKS[o.task][1] if result.get(name) is not None]
    for group in o.outputs:
        pairs += [(f"{group}.{i}", (group, i)) for i in range(len(result[group]))]
    return pairs


def give_plain_forward(o, model, names):
    """Make model.forward take tensors by position and return a tuple of tensors; returns the outputs' names.

    The instance is changed rather than wrapped, because a wrapper would put its own name before every module's."""
    original = model.forward
    flags = {"return_dict": True}
    for group in o.outputs:
        flags[f"output_{group}"] = True

    def call(tensors):
        return original(**dict(zip(names, tensors)), **flags)

    with torch.no_grad():
        probe = call([t for t in make_inputs(model, names, parse_shapes(o)[0], np.random.default_rng(0)).values()])
    pairs = wanted_outputs(o, probe)
    if not pairs:
        raise Refusal(f"the model returns {', '.join(probe)}, none of which belongs to --task {o.task}")

    def pick(result, path):
        for step in path:
            result = result[step]
        return result

    def forward(*tensors):
        result = call(tensors)
        return tuple(pick(result, path) for _, path in pairs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    model.forward = forward
    return [name for name, _ in pairs]


# -- the file ------------------------------------------------------------------------------------------------------


def dynamic_dims(o, names):
    dims = ["batch", "choices", "sequence"] if o.task == "multiple-choice" else ["batch", "sequence"]
    return {name: dict(enumerate(dims)) for name in names}


def output_dims(names, results, examples):
    """Names for the outputs' dimensions, found where the results of two examples of other sizes differ."""
    dims = {}
    for name, *tensors in zip(names, *results):
        dims[name] = {}
        for axis, sizes in enumerate(zip(*(t.shape for t in tensors))):
            for symbol, values in examples.items():
                if sizes == values:
                    dims[name][axis] = symbol
    return dims


def write_model(o, model, inputs, outputs, path):
    choice = o.task == "multiple-choice"
    shapes = [(2, 3, 5), (4, 5, 7)] if choice else [(2, 5), (4, 7)]
    rng = np.random.default_rng(o.seed)
    examples = [tuple(make_inputs(model, inputs, shape, rng).values()) for shape in shapes]
    axes = dynamic_dims(o, inputs)
    if o.exporter == "torchscript":
        with torch.no_grad():
            results = [model(*e) for e in examples]
        axes_out = output_dims(outputs, results, dict(zip(axes[inputs[0]].values(), zip(*shapes))))
        torch.onnx.export(model, examples[0], path, dynamo=False, opset_version=o.opset, input_names=inputs,
                          output_names=outputs, dynamic_axes={**axes, **axes_out}, do_constant_folding=True)
    else:
        program = torch.onnx.export(model, examples[0], dynamo=True, opset_version=o.opset, input_names=inputs,
                                    output_names=outputs, dynamic_shapes=tuple(axes.values()), verbose=False)
        program.save(path, external_data=True)


def drop_stack_traces(graph):
    """Dynamo keeps a Python stack trace for every node, with the paths of the machine that exports."""
    for node in graph.node:
        kept = [p for p in node.metadata_props if p.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def export(o, model, inputs, outputs):
    """Write model.onnx, with our choice of where weights go. Returns the inputs that are left: exporters drop some."""
    with tempfile.TemporaryDirectory(dir=o.output) as folder:
        path = pathlib.Path(folder) / "model.onnx"
        write_model(o, model, inputs, outputs, path)
        proto = onnx.load(path)
    drop_stack_traces(proto.graph)
    for old in ("model.onnx", "model.onnx.data"):
        (o.output / old).unlink(missing_ok=True)
    if not o.external_data and proto.ByteSize() >= 2**31:
        raise Refusal("the model is larger than 2 GiB, which one ONNX file cannot hold: add --external-data")
    target = o.output / "model.onnx"
    onnx.save(proto, target, save_as_external_data=o.external_data, location="model.onnx.data", size_threshold=1024)
    onnx.checker.check_model(target)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets.get("", o.opset) != o.opset:
        print(f"note: the exporter wrote opset {opsets['']}, not {o.opset}", file=sys.stderr)
    return [value.name for value in proto.graph.input]


def write_tensor(path, name, tensor):
    path.write_bytes(numpy_helper.from_array(tensor.numpy(), name).SerializeToString())


def write_sets(o, model, inputs, kept, outputs):
    for old in o.output.glob("test_data_set_*"):
        shutil.rmtree(old)
    rng = np.random.default_rng(o.seed)
    for number, shape in enumerate(parse_shapes(o)):
        folder = o.output / f"test_data_set_{number}"
        folder.mkdir()
        tensors = make_inputs(model, inputs, shape, rng)
        with torch.no_grad():
            results = model(*tensors.values())
        for i, name in enumerate(kept):
            write_tensor(folder / f"input_{i}.pb", name, tensors[name])
        for i, (name, tensor) in enumerate(zip(outputs, results)):
            write_tensor(folder / f"output_{i}.pb", name, tensor)


def copy_vocabulary(o):
    """Tokenizer files lie beside the weights, in a folder or on the hub; a checkpoint need not have them."""
    copied = []
    for name in VOCABULARY if o.checkpoint else ():
        found = cached_file(o.checkpoint, name, _raise_exceptions_for_missing_entries=False,
                            _raise_exceptions_for_connection_errors=False)
        if found:
            shutil.copyfile(found, o.output / name)
            copied.append(name)
    return copied


def check(o):
    """The greatest error of ONNX Runtime on the data sets, absolute and relative together, or None without it."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(o.output / "model.onnx", providers=["CPUExecutionProvider"])
    worst = 0.0
    for folder in sorted(o.output.glob("test_data_set_*")):
        tensors = [onnx.load_tensor(p) for p in sorted(folder.glob("input_*.pb"))]
        results = session.run(None, {t.name: numpy_helper.to_array(t) for t in tensors})
        for i, result in enumerate(results):
            expected = numpy_helper.to_array(onnx.load_tensor(folder / f"output_{i}.pb"))
            if result.shape != expected.shape:
                raise Refusal(f"{folder.name}: output {i} has the shape {result.shape}, not {expected.shape}")
            worst = max(worst, float(np.max(np.abs(result - expected) / (1 + np.abs(expected)), initial=0)))
    if not worst <= TOLERANCE:
        raise Refusal(f"ONNX Runtime differs from PyTorch by {worst:.1e}: this export is wrong")
    return worst


def main():
    o = parse_options()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    make_masks_traceable()
    try:
        model = load_model(o)
        check_lengths(model, parse_shapes(o))
        inputs = choose_inputs(o, model)
        outputs = give_plain_forward(o, model, inputs)
        o.output.mkdir(parents=True, exist_ok=True)
        kept = export(o, model, inputs, outputs)
        write_sets(o, model, inputs, kept, outputs)
        model.config.to_json_file(o.output / "config.json")
        copied = copy_vocabulary(o)
        worst = check(o)
    except (Refusal, OSError, ValueError) as error:
        raise SystemExit(f"export.py: {error}") from None
    parameters = sum(p.numel() for p in model.parameters())
    agreement = "" if worst is None else f"; ONNX Runtime agrees to {worst:.1e}"
    print(f"{o.output / 'model.onnx'}: {model.config.model_type}, {o.task}, opset {o.opset}, {parameters:,} parameters"
          f", inputs {', '.join(kept)}, outputs {', '.join(outputs[:4])}{' …' if len(outputs) > 4 else ''}"
          f"{', ' + ', '.join(copied) if copied else ''}{agreement}")


if __name__ == "__main__":
    main()
