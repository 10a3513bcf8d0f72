"""Equal ids: a greedy answer is that of a plain loop over llama.cpp, and a deterministic job says
the same alone, beside others, and resumed at any token."""

import json

import pytest

from support import Worker, all_at_once, new_job_id, plain_greedy, repository

PROMPTS = json.loads((repository() / "bench/data/greedy_prompts.json").read_text(encoding="utf-8"))
TOKENS = 32


@pytest.fixture(scope="module")
def greedy_ids(bin_dir, model_path, tmp_path_factory):
    """greedy_ids(prompt, chunk) → the ids of a plain loop."""
    file = tmp_path_factory.mktemp("greedy") / "prompt"

    def run(prompt, chunk):
        file.write_text(prompt, encoding="utf-8")
        return plain_greedy(bin_dir, model_path, file, TOKENS, chunk)
    return run


@pytest.fixture(scope="module")
def one_slot(bin_dir, model_path, tmp_path_factory):
    """A worker with one slot, so that nothing is ever beside the job."""
    process = Worker(bin_dir, tmp_path_factory.mktemp("one-slot"), "--model", model_path,
                     "--slots", 1, "--ctx-tokens", 1024)
    try:
        yield process.wait_ready().api
    finally:
        process.stop()


# clause: W-15
@pytest.mark.parametrize("deterministic,chunk", [(False, 512), (True, 32)], ids=["plain", "deterministic"])
def test_greedy_answers_of_20_prompts_are_those_of_a_plain_loop(one_slot, greedy_ids, deterministic,
                                                                chunk):
    """A scope of its own keeps each prompt from a cached prefix, so the chunk borders are equal."""
    assert len(PROMPTS) == 20
    differing = {}
    for prompt in PROMPTS:
        answer = one_slot.execute(prompt=prompt, max_tokens=TOKENS, temperature=0,
                                  deterministic=deterministic, cache_scope=new_job_id())
        assert answer.started["cached_tokens"] == 0
        wanted = greedy_ids(prompt, chunk)
        if answer.ids != wanted:
            differing[prompt] = (answer.ids, wanted)
    assert differing == {}


STORY = {"messages": [{"role": "user", "content": "Tell me a story about a dragon and 🐉 a 城."}],
         "max_tokens": 24, "ignore_eos": True, "deterministic": True}


# clause: W-26
@pytest.mark.parametrize("fields", [{"temperature": 0, "seed": 42}, {"temperature": 1.2, "seed": 42}],
                         ids=["greedy", "seeded"])
def test_a_deterministic_job_says_the_same_alone_and_beside_seven_others(api, fields):
    alone = api.execute(**STORY, **fields)

    def neighbour(number):
        return lambda: api.execute(prompt=f"Neighbour {number} counts: " * (1 + 9 * number),
                                   max_tokens=60, ignore_eos=True)
    crowd = [neighbour(number) for number in range(7)]
    beside = all_at_once([*crowd, lambda: api.execute(**STORY, **fields)])[-1]
    assert beside.ids == alone.ids
    assert beside.text == alone.text


# clause: W-27
@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": 1.0, "seed": 7},
                                    {"temperature": 0.9, "seed": 8, "top_k": 40, "top_p": 0.9,
                                     "min_p": 0.05, "repetition_penalty": 1.2}],
                         ids=["greedy", "seeded", "every sampling field"])
def test_a_deterministic_job_resumed_at_any_token_equals_the_undisturbed_one(api, fields):
    whole = api.execute(**STORY, **fields)
    count = len(whole.ids)
    cuts = range(1, count) if fields == {"temperature": 0} else (1, 2, count // 2, count - 1)
    for cut in cuts:
        rest = api.execute(**STORY, **fields, resume_tokens=whole.ids[:cut], attempt=1)
        assert [token["i"] for token in rest.tokens] == list(range(cut, count)), f"cut at {cut}"
        assert whole.ids[:cut] + rest.ids == whole.ids, f"cut at {cut}"
        before = "".join(token["t"] for token in whole.tokens[:cut])
        assert before + rest.text == whole.text, f"cut at {cut}"
        assert rest.end["tokens_out"] == count


# clause: W-27
def test_a_resume_after_the_last_token_only_ends(api):
    whole = api.execute(**STORY, temperature=0)
    rest = api.execute(**STORY, temperature=0, resume_tokens=whole.ids, attempt=1)
    assert rest.tokens == []
    assert rest.end["stop_reason"] == "MAX_TOKENS" and rest.end["tokens_out"] == len(whole.ids)


# clause: W-27, W-23
def test_a_resume_sees_a_stop_string_that_began_before_it(api):
    fields = {"prompt": "The capital of France is", "temperature": 0, "deterministic": True,
              "max_tokens": 30}
    plain = api.execute(**fields, ignore_eos=True)
    texts = [token["t"] for token in plain.tokens]
    at = next(i for i in range(4, 28) if len(texts[i]) >= 2 and len(texts[i + 1]) >= 2)
    stop = texts[at][-1] + texts[at + 1][:2]
    whole = api.execute(**fields, stop=[stop])
    assert whole.end["stop_reason"] == "STOP_SEQUENCE"
    cut = len(whole.ids) - 1
    rest = api.execute(**fields, stop=[stop], resume_tokens=whole.ids[:cut])
    assert rest.end["stop_reason"] == "STOP_SEQUENCE"
    assert "".join(t["t"] for t in whole.tokens[:cut]) + rest.text == whole.text


# clause: W-27, W-29
def test_a_resume_goes_on_inside_its_grammar(api):
    fields = {"prompt": "Digits:", "grammar": "root ::= [0-9]{12} \";\"", "deterministic": True,
              "temperature": 1.0, "seed": 3, "max_tokens": 40}
    whole = api.execute(**fields)
    cut = len(whole.ids) // 2
    rest = api.execute(**fields, resume_tokens=whole.ids[:cut])
    assert whole.ids[:cut] + rest.ids == whole.ids
    assert len(whole.text) == 13
