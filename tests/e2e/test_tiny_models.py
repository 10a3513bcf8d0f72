"""Every family of models on a tiny one of it: the architecture, tokenizer, control tokens and chat
template are the real ones (tools/tiny_models.py says which), only the weights are random."""

import pathlib

import pytest

import chat_text
import tiny_models as makes_tiny
from support import Worker, new_job_id, plain_greedy

FAMILIES = {family.name: family for family in makes_tiny.FAMILIES}
SEPARATOR = "\n__ggml_vocab_test__\n"
# Longer than the shortest prefix that is cached, and than the sliding window of gemma.
LONG = ("The history of the lighthouse begins long before the town was built. Sailors told of a fire on "
        "the rocks, kept by a family that asked for nothing but oil, bread and news from the sea. When "
        "the first harbour was dug, the fire became a lamp; when the railway came, the lamp became a "
        "light that could be seen for twenty miles. Ask anyone:")
CONVERSATION = [
    {"role": "user", "content": "Hello, what is the capital of France?"},
    {"role": "assistant", "content": "It is Paris, on the river Seine."},
    {"role": "user", "content": "And which one of Italy? Answer in a word."}]
# What ends a turn, then what else ends generation.
ENDS = {
    "llama": ["</s>"],
    "llama3": ["<|eot_id|>", "<|end_of_text|>"],
    "qwen2": ["<|im_end|>", "<|endoftext|>"],
    "phi3": ["<|end|>", "<|endoftext|>"],
    "mistral": ["</s>"],
    "gemma": ["<turn|>", "<eos>"],
}


class Tiny:
    """A worker with one slot and the model of one family."""

    def __init__(self, entry, worker):
        self.entry = entry
        self.path = entry["path"]
        self.family = FAMILIES[entry["name"]]
        self.template = self.family.template_path().read_text(encoding="utf-8")
        self.api = worker.api

    def tokens(self, text, special):
        reply = self.api.post("/tokenize", {"content": text, "add_special": False, "parse_special": special})
        assert reply.status_code == 200, reply.text
        return reply.json()["tokens"]

    def text(self, tokens):
        reply = self.api.post("/detokenize", {"tokens": tokens})
        assert reply.status_code == 200, reply.text
        return reply.json()["content"]

    def rendered(self, messages, **variables):
        return chat_text.render(self.template, messages, self.entry["bos"], self.entry["eos"], **variables)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, bin_dir, tiny_models, tmp_path_factory):
    entry = tiny_models[request.param]
    worker = Worker(bin_dir, tmp_path_factory.mktemp(entry["name"]), "--model", entry["path"],
                    "--slots", 1, "--ctx-tokens", 1024, "--threads", 1)
    try:
        yield Tiny(entry, worker.wait_ready())
    finally:
        worker.stop()


def test_ten_tokens_are_the_same_twice(tiny):
    fields = {"prompt": "Once upon a time", "max_tokens": 10, "ignore_eos": True, "temperature": 0, "seed": 42}
    first, second = tiny.api.execute(**fields), tiny.api.execute(**fields)
    assert len(first.ids) == 10 and first.end["stop_reason"] == "MAX_TOKENS"
    assert len(set(first.ids)) > 5, "an answer of one word shows nothing"
    assert second.ids == first.ids and second.text == first.text


# clause: W-15
@pytest.mark.parametrize("deterministic,chunk", [(False, 512), (True, 32)], ids=["plain", "deterministic"])
def test_a_greedy_answer_is_that_of_a_plain_loop(tiny, bin_dir, tmp_path, deterministic, chunk):
    prompt = tmp_path / "prompt"
    prompt.write_text(LONG, encoding="utf-8")
    answer = tiny.api.execute(prompt=LONG, max_tokens=16, temperature=0, deterministic=deterministic,
                              cache_scope=new_job_id())
    assert answer.started["prompt_tokens"] > 64 and answer.started["cached_tokens"] == 0
    assert answer.ids == plain_greedy(bin_dir, tiny.path, prompt, 16, chunk, threads=1)
    assert answer.ids


# clause: W-13
def test_tokenizer_vectors_are_equal_line_by_line_and_back(tiny):
    """As llama.cpp's test-tokenizer-0 reads them: no special tokens added, none parsed."""
    base = makes_tiny.TREE / f"models/ggml-vocab-{tiny.family.vocabulary}.gguf"
    texts = pathlib.Path(f"{base}.inp").read_bytes().decode().removesuffix(SEPARATOR).split(SEPARATOR)
    lines = pathlib.Path(f"{base}.out").read_text(encoding="utf-8").splitlines()
    assert len(texts) == len(lines) >= 40
    wrong = {}
    for text, line in zip(texts, lines):
        wanted = [int(number) for number in line.split()]
        got = tiny.tokens(text, special=False), tiny.text(wanted)
        if got != (wanted, text):
            wrong[text] = (got, wanted)
    assert wrong == {}


# clause: W-20, W-36
def test_the_end_of_a_turn_ends_the_answer(tiny):
    """What the published template writes after an answer is an end, and so is each of ENDS."""
    answer = "It is Paris."
    after = tiny.rendered([CONVERSATION[0], {"role": "assistant", "content": answer}],
                          add_generation_prompt=False).split(answer)[1]
    assert after.lstrip().startswith(ENDS[tiny.entry["name"]][0])
    for text in ENDS[tiny.entry["name"]]:
        (end,) = tiny.tokens(text, special=True)
        assert ended(tiny, end) == ("stop", 0), text


# clause: W-20
def test_the_begin_of_a_turn_and_plain_words_do_not_end_the_answer(tiny):
    begin = tiny.tokens(tiny.rendered(CONVERSATION[:1]).removeprefix(tiny.entry["bos"]), special=True)[0]
    word = tiny.tokens("Hello", special=False)[0]
    for token in (begin, word):
        assert ended(tiny, token) == ("length", 3), token


def ended(tiny, token):
    """How an answer ends in which every next token is this one, and how many it has."""
    reply = tiny.api.post("/v1/completions", {"prompt": "The capital of France is", "max_tokens": 3,
                                              "temperature": 0, "logit_bias": {str(token): 100}})
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["finish_reason"], reply.json()["usage"]["completion_tokens"]


# clause: W-36
def test_a_chat_is_what_jinja_makes_of_the_published_template(tiny):
    """The prompt that Jinja renders finds every token of the chat in the cache, and is answered alike.
    As in llama-server, thinking is on where a template knows it."""
    fields = {"max_tokens": 10, "ignore_eos": True, "temperature": 0, "cache_scope": new_job_id()}
    chat = tiny.api.execute(messages=CONVERSATION, **fields)
    bare = tiny.api.execute(prompt=tiny.rendered(CONVERSATION, enable_thinking=True), **fields)
    assert bare.started["prompt_tokens"] == chat.started["prompt_tokens"]
    assert bare.started["cached_tokens"] == chat.started["prompt_tokens"] - 1
    assert bare.ids == chat.ids
    other = tiny.api.execute(messages=CONVERSATION[:1], **fields)
    assert other.ids != chat.ids, "this model answers everything alike: it shows nothing"


# clause: W-31
def test_a_chat_completion_has_an_answer(tiny):
    reply = tiny.api.post("/v1/chat/completions", {"messages": CONVERSATION, "max_tokens": 10, "temperature": 0,
                                                   "ignore_eos": True})
    assert reply.status_code == 200, reply.text
    (choice,) = reply.json()["choices"]
    assert choice["message"]["content"] and choice["finish_reason"] == "length"
    assert reply.json()["usage"]["completion_tokens"] == 10


def test_a_model_is_made_with_the_same_bytes_again(tiny_models, tmp_path):
    makes_tiny.make(FAMILIES["phi3"], tmp_path / "phi3.gguf", makes_tiny.TREE)
    assert makes_tiny.sha256_of(tmp_path / "phi3.gguf") == tiny_models["phi3"]["sha256"]
