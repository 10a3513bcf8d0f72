#!/usr/bin/env python3
"""Makes tiny models: the architecture, tokenizer, control tokens and chat template of real ones, with
random weights. They load and answer in a second, so that every family is tried where no large file can
be fetched; what they say means nothing.

    tools/tiny_models.py [FOLDER] [--only llama,phi3] [--llama TREE]

FOLDER (build/tiny-models) gets NAME.gguf for each family and manifest.json, which says what each holds
and its sha256. The bytes are the same on every machine. Nothing is made again while the manifest says
that it is already there. TREE is the llama.cpp release of tools/llama_release.sh.
"""

import argparse
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import struct
import sys

import gguf
import numpy

REPO = pathlib.Path(__file__).resolve().parent.parent
TREE = REPO / "build/compare/llama.cpp"
FOLDER = REPO / "build/tiny-models"
OUR_TEMPLATES = REPO / "src/prompt/testdata/templates"


@dataclasses.dataclass(frozen=True)
class Shape:
    """Small sizes in the proportions of the real model."""
    layers: int = 2
    width: int = 64
    feed_forward: int = 128
    heads: int = 4
    kv_heads: int = 2
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5
    context: int = 2048

    @property
    def head_size(self):
        return self.width // self.heads


@dataclasses.dataclass(frozen=True)
class Family:
    name: str            # of the file
    architecture: str    # general.architecture
    vocabulary: str      # models/ggml-vocab-NAME.gguf of the release
    template: str        # OURS/NAME or RELEASE/NAME
    stands_for: str      # the model whose file it is like
    vocabulary_note: str
    shape: Shape
    eos: int | None = None            # where the vocabulary file is not of the instruct model
    add_bos: bool | None = None

    def template_path(self, tree=TREE):
        where, name = self.template.split("/")
        return OUR_TEMPLATES / name if where == "OURS" else tree / "models/templates" / name


# A real Mistral GGUF says architecture "llama" too: only tokenizer and template tell it apart. Its own
# vocabulary is not in the release; Llama 2's is of the same kind, size and control tokens.
FAMILIES = [
    Family("llama", "llama", "llama-spm", "OURS/zephyr.jinja", "TinyLlama 1.1B Chat v1.0",
           "its own (Llama 2's)", Shape()),
    Family("llama3", "llama", "llama-bpe", "OURS/llama3.jinja", "Llama 3 8B Instruct",
           "its own", Shape(rope_base=500000.0), eos=128009, add_bos=True),
    Family("qwen2", "qwen2", "qwen2", "OURS/qwen.jinja", "Qwen2.5 0.5B Instruct",
           "its own (Qwen 2's)", Shape(rope_base=1000000.0, norm_epsilon=1e-6), eos=151645,
           add_bos=False),
    Family("phi3", "phi3", "phi-3", "OURS/phi3.jinja", "Phi-3 mini 4k Instruct",
           "its own", Shape(kv_heads=4)),
    Family("mistral", "llama", "llama-spm", "OURS/mistral_v2.jinja", "Mistral 7B Instruct v0.2",
           "Llama 2's: the same kind, size and control tokens", Shape(rope_base=1000000.0)),
    Family("gemma", "gemma4", "gemma-4", "RELEASE/google-gemma-4-31B-it.jinja", "Gemma 4 31B it",
           "its own", Shape(layers=4, kv_heads=2, rope_base=1000000.0, norm_epsilon=1e-6)),
]


class RawValue(bytes):
    """A key's value as it stands in another GGUF, type first."""


class Writer(gguf.GGUFWriter):
    """Copies values of a vocabulary without taking them apart: half a million merges take seconds."""

    def _pack_val(self, val, vtype, add_vtype, sub_type=None):
        if isinstance(val, RawValue):
            return bytes(val)
        return super()._pack_val(val, vtype, add_vtype, sub_type)

    def add_raw(self, key, value):
        self.add_key_value(key, RawValue(value), gguf.GGUFValueType.STRING)


SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


def raw_keys(data):
    """{key: its type and value as bytes} of a GGUF. Source: ggml/docs/gguf.md."""
    def skip(kind, at):
        if kind == STRING:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind != ARRAY:
            return at + SIZES[kind]
        of, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if of in SIZES:
            return at + SIZES[of] * count
        for _ in range(count):
            at = skip(of, at)
        return at

    magic, _, _, count = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF":
        raise SystemExit("error: the vocabulary is no GGUF\nnext: rm -r build/compare/llama.cpp")
    keys, at = {}, 24
    for _ in range(count):
        size = struct.unpack_from("<Q", data, at)[0]
        name = data[at + 8:at + 8 + size].decode()
        begin = at + 8 + size
        at = skip(struct.unpack_from("<I", data, begin)[0], begin + 4)
        keys[name] = data[begin:at]
    return keys


def array_count(raw):
    return struct.unpack_from("<IIQ", raw)[2]


def text_at(raw, index):
    """One text of an array of texts."""
    at = 16
    for _ in range(index):
        at += 8 + struct.unpack_from("<Q", raw, at)[0]
    return raw[at + 8:at + 8 + struct.unpack_from("<Q", raw, at)[0]].decode()


class Weights:
    """Uniform random numbers from the raw bits of PCG64, whose stream numpy promises to keep."""

    def __init__(self, name):
        self.bits = numpy.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))

    def uniform(self, count, bound):
        words = self.bits.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
        unit = words.astype(numpy.float32) * numpy.float32(2 / 65535) - numpy.float32(1)
        return unit * numpy.float32(bound)

    def matrix(self, rows, columns, gain=1.0):
        """[rows, columns] as numpy says it; keeps the size of what it is multiplied with."""
        values = self.uniform(rows * columns, gain * (3 / columns) ** 0.5)
        return values.reshape(rows, columns).astype(numpy.float16)

    def embedding(self, rows, columns):
        """Small beside what the layers add, or a tied output would repeat the last token for ever."""
        return self.uniform(rows * columns, 0.02).reshape(rows, columns).astype(numpy.float16)

    def norm(self, size):
        return numpy.float32(1) + self.uniform(size, 0.1)

    def bias(self, size):
        return self.uniform(size, 0.1)


def add_gemma4_keys(writer, shape):
    writer.add_key_length(shape.head_size * 2)
    writer.add_value_length(shape.head_size * 2)
    writer.add_rope_dimension_count(shape.head_size * 2)
    writer.add_key_length_swa(shape.head_size)
    writer.add_value_length_swa(shape.head_size)
    writer.add_rope_dimension_count_swa(shape.head_size)
    writer.add_rope_freq_base_swa(10000.0)
    writer.add_sliding_window(64)  # short, so that the tests' prompts are longer
    writer.add_sliding_window_pattern([(layer + 1) % 4 != 0 for layer in range(shape.layers)])
    writer.add_shared_kv_layers(0)
    writer.add_embedding_length_per_layer_input(0)
    writer.add_final_logit_softcapping(30.0)


def add_keys(writer, family):
    shape = family.shape
    writer.add_name(f"tiny {family.name} with random weights")
    writer.add_description(f"random weights in the form of {family.stands_for}; answers mean nothing")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    if family.architecture == "gemma4":
        add_gemma4_keys(writer, shape)
    else:
        writer.add_rope_dimension_count(shape.head_size)
    if family.architecture == "phi3":
        writer.add_rope_scaling_orig_ctx_len(shape.context)


def add_tokenizer(writer, family, keys, template):
    replaced = {"tokenizer.ggml.eos_token_id": family.eos, "tokenizer.ggml.add_bos_token": family.add_bos}
    for name, raw in keys.items():
        if name.startswith("tokenizer.ggml.") and replaced.get(name) is None:
            writer.add_raw(name, raw)
    if family.eos is not None:
        writer.add_eos_token_id(family.eos)
    if family.add_bos is not None:
        writer.add_add_bos_token(family.add_bos)
    writer.add_chat_template(template)


def layer_tensors(architecture, shape, layer, weights):
    """(name, values) of one layer, in the order of the real files."""
    width, wide = shape.width, shape.feed_forward
    head = shape.head_size
    if architecture == "gemma4" and (layer + 1) % 4 == 0:
        head *= 2  # the layers that see everything have larger heads
    query, key = head * shape.heads, head * shape.kv_heads
    yield "attn_norm.weight", weights.norm(width)
    if architecture == "phi3":
        yield "attn_qkv.weight", weights.matrix(query + 2 * key, width)
    else:
        for part, rows in (("q", query), ("k", key), ("v", key)):
            yield f"attn_{part}.weight", weights.matrix(rows, width)
            if architecture == "qwen2":
                yield f"attn_{part}.bias", weights.bias(rows)
    if architecture == "gemma4":
        yield "attn_q_norm.weight", weights.norm(head)
        yield "attn_k_norm.weight", weights.norm(head)
        yield "post_attention_norm.weight", weights.norm(width)
        yield "post_ffw_norm.weight", weights.norm(width)
    yield "attn_output.weight", weights.matrix(width, query, gain=2.0)
    yield "ffn_norm.weight", weights.norm(width)
    if architecture == "phi3":
        yield "ffn_up.weight", weights.matrix(2 * wide, width, gain=2.0)
    else:
        yield "ffn_gate.weight", weights.matrix(wide, width, gain=2.0)
        yield "ffn_up.weight", weights.matrix(wide, width, gain=2.0)
    yield "ffn_down.weight", weights.matrix(width, wide, gain=2.0)


def tensors(family, tokens):
    shape, weights = family.shape, Weights(family.name)
    yield "token_embd.weight", weights.embedding(tokens, shape.width)
    if family.architecture == "gemma4":  # of the layers that see everything: nothing is slowed down
        yield "rope_freqs.weight", numpy.ones(shape.head_size, dtype=numpy.float32)
    for layer in range(shape.layers):
        for name, values in layer_tensors(family.architecture, shape, layer, weights):
            yield f"blk.{layer}.{name}", values
    yield "output_norm.weight", weights.norm(shape.width)
    if family.architecture not in ("qwen2", "gemma4"):  # those read out by their embedding
        yield "output.weight", weights.matrix(tokens, shape.width)


def make(family, path, tree, template=None):
    """Writes one model and says what its templates call bos_token and eos_token. `template` replaces
    the published one (the tests make wrong models)."""
    keys = raw_keys((tree / f"models/ggml-vocab-{family.vocabulary}.gguf").read_bytes())
    if template is None:
        template = family.template_path(tree).read_text(encoding="utf-8")
    partial = path.with_name(path.name + ".part")
    writer = Writer(partial, family.architecture)
    add_keys(writer, family)
    add_tokenizer(writer, family, keys, template)
    for name, values in tensors(family, array_count(keys["tokenizer.ggml.tokens"])):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)
    (bos,), eos = struct.unpack_from("<I", keys["tokenizer.ggml.bos_token_id"], 4), family.eos
    if eos is None:
        (eos,) = struct.unpack_from("<I", keys["tokenizer.ggml.eos_token_id"], 4)
    return {"bos": text_at(keys["tokenizer.ggml.tokens"], bos),
            "eos": text_at(keys["tokenizer.ggml.tokens"], eos)}


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe(tree):
    """Changes whenever the bytes of a model would: this file, gguf, vocabularies and templates."""
    hashed = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for family in FAMILIES:
        hashed.update((tree / f"models/ggml-vocab-{family.vocabulary}.gguf").read_bytes())
        hashed.update(family.template_path(tree).read_bytes())
    return hashed.hexdigest()


def read_manifest(folder):
    path = folder / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": []}


def entry_of(family, path, tree):
    marks = make(family, path, tree)
    return {"name": family.name, "file": path.name, "architecture": family.architecture,
            "stands_for": family.stands_for, "vocabulary": family.vocabulary,
            "vocabulary_is": family.vocabulary_note, "template": family.template.split("/")[1],
            "size_bytes": path.stat().st_size, "sha256": sha256_of(path)} | marks


def make_all(folder, tree, names=None):
    """The manifest, after making what is not there yet. One process at a time for a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_by = recipe(tree)
        old = read_manifest(folder)
        kept = {entry["name"]: entry for entry in old["models"] if old.get("recipe") == made_by}
        entries = []
        for family in FAMILIES:
            path = folder / f"{family.name}.gguf"
            entry = kept.get(family.name)
            if names and family.name not in names:
                entries += [entry] if entry else []
                continue
            if not entry or not path.exists() or path.stat().st_size != entry["size_bytes"]:
                entry = entry_of(family, path, tree)
            entries.append(entry)
        manifest = {"recipe": made_by, "models": entries}
        partial = folder / "manifest.json.part"
        partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, folder / "manifest.json")
        return manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=FOLDER)
    parser.add_argument("--only", help="families, with commas between them")
    parser.add_argument("--llama", type=pathlib.Path, default=TREE, help="tree of the llama.cpp release")
    options = parser.parse_args()
    known = {family.name for family in FAMILIES}
    names = set(options.only.split(",")) if options.only else None
    if names and not names <= known:
        parser.error(f"--only: no family {', '.join(sorted(names - known))}; there are {', '.join(sorted(known))}")
    if not (options.llama / "models").is_dir():
        print(f"error: {options.llama}: no tree of llama.cpp\nnext: tools/setup.sh --test", file=sys.stderr)
        return 1
    for entry in make_all(options.folder, options.llama, names)["models"]:
        print(f"{entry['name']:8} {entry['architecture']:7} {entry['size_bytes'] / 1e6:5.1f} MB  "
              f"as {entry['stands_for']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
