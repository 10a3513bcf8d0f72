"""The stream of POST /execute: shapes, ids, order, limits and what is refused."""

import http.client
import json
import re
import time

import jsonschema_lite
import pytest

from support import EventReader, Event, long_text, new_job_id

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


# clause: W-19, W-20, W-22
def test_stream_has_started_then_tokens_then_one_end(api):
    job_id = new_job_id()
    answer = api.execute(job_id=job_id, prompt="Once upon a time", max_tokens=12, temperature=0,
                         seed=18446744073709551615, ignore_eos=True)
    kinds = [event.type for event in answer.events if event.type != "metrics"]
    assert kinds == ["started"] + ["token"] * 12 + ["end"]
    assert all(event.data["type"] == event.type for event in answer.events)

    started = answer.started
    assert started["job_id"] == job_id
    assert started["model"] == "smollm2"
    assert started["seed"] == 18446744073709551615
    assert RFC_3339.fullmatch(started["started_at"])
    assert started["prompt_tokens"] >= 4
    assert 0 <= started["cached_tokens"] <= started["prompt_tokens"]

    end = answer.end
    assert end["tokens_out"] == 12
    assert end["stop_reason"] == "MAX_TOKENS"
    assert "stop_sequence_matched" not in end
    assert end["prefill_ms"] >= 0 and end["decode_time_ms"] > 0


# clause: W-19
def test_ids_are_sequence_numbers_with_the_token_id(api):
    answer = api.execute(prompt="Count: one, two,", max_tokens=8, temperature=0, ignore_eos=True)
    numbered = [event for event in answer.events if event.id is not None]
    assert [event.seq for event in numbered if event.type != "queued"] == list(range(1, 8 + 3))
    for event in answer.events:
        if event.type == "token":
            assert event.seq == event.data["i"] + 2
            assert event.token_ids == [event.data["id"]]
        elif event.type == "metrics":
            assert event.id is None
        else:
            assert event.token_ids == []


# clause: W-22
def test_text_of_the_tokens_is_what_detokenize_says(api):
    answer = api.execute(prompt="The emoji for fire is 🔥 and for a cat is 🐱. The emoji for a dog is",
                         max_tokens=24, temperature=0, ignore_eos=True)
    whole = api.post("/detokenize", {"tokens": answer.ids}).json()["content"]
    assert answer.text == whole
    assert "\ufffd" not in answer.text or "\ufffd" in whole


# clause: W-15
def test_seed_is_chosen_and_reported_when_absent(api):
    first = api.execute(prompt="A word:", max_tokens=8, ignore_eos=True, deterministic=True)
    again = api.execute(prompt="A word:", max_tokens=8, ignore_eos=True, deterministic=True,
                        seed=first.started["seed"])
    other = api.execute(prompt="A word:", max_tokens=8, ignore_eos=True, deterministic=True)
    assert again.ids == first.ids
    assert other.started["seed"] != first.started["seed"]


# clause: W-15
def test_max_tokens_is_512_when_absent(api):
    """`max_tokens` is capped by the context, and absent it is 512."""
    with api.open(prompt="Tell me", ignore_eos=True, temperature=0) as job:
        answer = job.rest()
    assert answer.end["tokens_out"] == 512
    assert answer.end["stop_reason"] == "MAX_TOKENS"


# clause: W-15, W-18
def test_max_tokens_is_capped_by_the_context(fresh_worker):
    api = fresh_worker("--slots", 1, "--ctx-tokens", 256).api
    room = api.health()["context_tokens"]
    answer = api.execute(prompt="Hello", max_tokens=100_000, ignore_eos=True, temperature=0)
    used = answer.started["prompt_tokens"] + answer.end["tokens_out"]
    assert room - 1 <= used <= room + 1, "the last token needs no cell of its own"
    assert answer.end["stop_reason"] == "MAX_TOKENS"


# clause: W-22
def test_end_of_sequence_token_gives_no_event(api):
    answer = api.execute(messages=[{"role": "user", "content": "Say hi."}], max_tokens=300,
                         temperature=0)
    assert answer.end["stop_reason"] == "EOS"
    assert answer.end["tokens_out"] == len(answer.tokens)
    assert "<|im_end|>" not in answer.text


# clause: W-15
def test_ignore_eos_goes_on_to_max_tokens(api):
    messages = [{"role": "user", "content": "Say hi."}]
    stopped = api.execute(messages=messages, max_tokens=300, temperature=0)
    count = stopped.end["tokens_out"] + 20
    answer = api.execute(messages=messages, max_tokens=count, temperature=0, ignore_eos=True)
    assert answer.end["tokens_out"] == count


# clause: W-15, W-36
def test_prompt_is_taken_as_it_is_and_messages_go_through_the_template(api):
    bare = api.execute(prompt="Hi", max_tokens=1, temperature=0)
    chat = api.execute(messages=[{"role": "user", "content": "Hi"}], max_tokens=1, temperature=0)
    assert bare.started["prompt_tokens"] == 1
    assert chat.started["prompt_tokens"] > 5


# clause: W-36
def test_control_tokens_in_user_content_stay_text(api):
    """Text that spells a control token costs many tokens, the control token itself one."""
    def tokens_of(content):
        answer = api.execute(messages=[{"role": "user", "content": content}], max_tokens=1)
        return answer.started["prompt_tokens"]
    assert tokens_of("a<|im_end|><|im_start|>b") > tokens_of("ab") + 6


def middle_of_two_tokens(tokens):
    """A string made of the end of one token and the start of the next, and where it first occurs."""
    text = "".join(token["t"] for token in tokens)
    for first, second in zip(tokens[4:], tokens[5:]):
        if len(first["t"]) >= 2 and len(second["t"]) >= 2:
            return first["t"][-1] + second["t"][:2], text
    raise AssertionError(f"no two long tokens in {text!r}")


# clause: W-23, W-20, W-22
def test_stop_string_is_found_across_token_borders(api):
    fields = {"prompt": "The capital of France is", "temperature": 0, "deterministic": True}
    plain = api.execute(max_tokens=40, ignore_eos=True, **fields)
    stop, text = middle_of_two_tokens(plain.tokens)
    answer = api.execute(max_tokens=40, stop=["never said \u2603", stop], **fields)
    assert answer.end["stop_reason"] == "STOP_SEQUENCE"
    assert answer.end["stop_sequence_matched"] == stop
    assert answer.text == text[:text.index(stop)]
    assert answer.end["tokens_out"] == len(answer.tokens) < 40
    assert answer.ids == plain.ids[:len(answer.ids)]


# clause: W-22, W-23
def test_text_held_for_a_stop_string_that_never_comes_is_not_lost(api):
    fields = {"prompt": "The capital of France is", "temperature": 0, "deterministic": True,
              "ignore_eos": True, "max_tokens": 20}
    plain = api.execute(**fields)
    held = api.execute(stop=[plain.text[-6:] + " and never this", plain.text[4:9] + "\u2603"], **fields)
    assert held.text == plain.text
    assert held.ids == plain.ids
    assert held.end["stop_reason"] == "MAX_TOKENS"


# clause: W-29
def test_grammar_binds_the_output(api):
    answer = api.execute(prompt="Is water wet? Answer:", max_tokens=30, seed=1,
                         grammar='root ::= " yes" | " no" | " maybe" [0-9] [0-9]')
    assert re.fullmatch(r" yes| no| maybe\d\d", answer.text)
    assert answer.end["stop_reason"] == "EOS"


SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome", "Oslo"]}, "people": {"type": "integer"},
                   "warm": {"type": "boolean"},
                   "tags": {"type": "array", "items": {"type": "string", "maxLength": 8},
                            "minItems": 1, "maxItems": 2}},
    "required": ["city", "people", "warm", "tags"],
    "additionalProperties": False,
}


# clause: W-29
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_json_schema_binds_the_output(api, seed):
    answer = api.execute(
        messages=[{"role": "user", "content": "Describe a city as JSON."}], max_tokens=200, seed=seed,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}})
    assert answer.end["stop_reason"] == "EOS"
    jsonschema_lite.check(json.loads(answer.text), SCHEMA)


# clause: W-13
def test_tokenize_and_detokenize_are_inverse(api):
    text = "Grüße, 世界! 🌍 2+2=4\n\ttab"
    tokens = api.post("/tokenize", {"content": text}).json()["tokens"]
    assert all(isinstance(token, int) for token in tokens)
    assert api.post("/detokenize", {"tokens": tokens}).json()["content"] == text


# --- what is refused -----------------------------------------------------------------------------

# clause: E-1, E-3, W-15
def test_all_violations_are_listed_and_the_prompt_is_never_repeated(api):
    secret = "the-words-of-the-user"
    reply = api.refused(400, job_id="", prompt=secret, messages=[], max_tokens=0, temperature=2.1,
                        top_p=-0.1, top_k=-1, min_p=1.5, repetition_penalty=0, seed=-1,
                        stop=["a"] * 17, ignore_eos="yes")
    body = reply.json()
    assert body["error"]["code"] == "INVALID_REQUEST"
    assert body["error"]["retriable"] is False
    assert body["error"]["message"] and body["error"]["correlation_id"]
    assert {re.split(r"[\[.]", error["field"])[0] for error in body["errors"]} >= {
        "job_id", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
        "seed", "stop", "ignore_eos"}
    assert all(error["constraint"] and error["message"] for error in body["errors"])
    assert secret not in reply.text


REFUSED_FIELDS = [
    ("neither prompt nor messages", {}, "prompt"),
    ("prompt and messages", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, ""),
    ("an empty prompt", {"prompt": ""}, "prompt"),
    ("an unknown field", {"prompt": "a", "max_token": 4}, "max_token"),
    ("a job id that is too long", {"prompt": "a", "job_id": "x" * 257}, "job_id"),
    ("an empty stop string", {"prompt": "a", "stop": [""]}, "stop"),
    ("a stop string that is too long", {"prompt": "a", "stop": ["x" * 257]}, "stop"),
    ("a seed past uint64", {"prompt": "a", "seed": 18446744073709551616}, "seed"),
    ("a temperature that is text", {"prompt": "a", "temperature": "hot"}, "temperature"),
    ("two output formats", {"prompt": "a", "grammar": 'root ::= "a"',
                            "response_format": {"type": "json_object"}}, ""),
    ("a grammar that is none", {"prompt": "a", "grammar": "root ::= ((("}, "grammar"),
    ("a schema that is none", {"prompt": "a", "response_format": {
        "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
     "response_format"),
    ("a role that is none", {"messages": [{"role": "emperor", "content": "b"}]}, ""),
    ("a resume token outside the vocabulary", {"prompt": "a", "resume_tokens": [99999999]}, "resume_tokens"),
]


# clause: W-15, E-3
@pytest.mark.parametrize("fields,named", [row[1:] for row in REFUSED_FIELDS],
                         ids=[row[0] for row in REFUSED_FIELDS])
def test_a_broken_rule_is_a_400_that_names_the_field(api, fields, named):
    body = api.refused(400, **{"job_id": new_job_id(), **fields}).json()
    assert body["error"]["code"] == "INVALID_REQUEST"
    if named:
        assert any(named in error["field"] for error in body["errors"]), body


CANARY = "canary-7f3a"
BAD_GRAMMARS = [
    ("unbalanced", f'root ::= "{CANARY}"\nother ::= (("{CANARY}"', "line 2"),
    ("undefined rule", f'root ::= other # {CANARY}', "`other`"),
    ("no root", f'start ::= "{CANARY}"', "`root`"),
    ("left recursion", f'root ::= root "{CANARY}"', "begins with itself"),
    ("bounds swapped", f'root ::= "{CANARY}"{{5,2}}', "line 1"),
    ("not a rule", CANARY + " ?", "line 1"),
]


# llama.cpp prints a grammar that does not parse, and a pattern it cannot follow, to stderr.
# clause: W-29, E-3
def test_a_bad_grammar_gets_a_reason_and_never_reaches_the_log(worker, api):
    for name, grammar, says in BAD_GRAMMARS:
        body = api.refused(400, prompt="a", grammar=grammar).json()
        (error,) = body["errors"]
        assert error["field"] == "grammar" and says in error["message"], name
    schema = {"type": "string", "pattern": f"(?={CANARY})"}
    api.execute(prompt="a", max_tokens=1, response_format={
        "type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert CANARY not in "".join(worker.output)


# clause: W-18
def test_a_prompt_longer_than_the_context_is_refused(api):
    body = api.refused(400, prompt=long_text(4000)).json()
    assert body["error"]["code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert body["error"]["retriable"] is False
    assert "2048" in body["error"]["message"]


# clause: W-14, E-2, E-4, E-5
@pytest.mark.parametrize("path", ["/execute", "/cancel", "/v1/chat/completions", "/tokenize"])
def test_a_body_over_8_mib_is_413(worker, path):
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(8 * 1024 * 1024 + 1))
    connection.putheader("X-Correlation-Id", "too-much")
    connection.endheaders(b'{"job_id":"')
    reply = connection.getresponse()
    error = json.loads(reply.read())["error"]
    connection.close()
    assert reply.status == 413
    assert error["code"] == ("too_large" if path.startswith("/v1") else "TOO_LARGE")
    assert error.get("type") == ("invalid_request_error" if path.startswith("/v1") else None)
    assert error["message"] and error["correlation_id"] == "too-much"
    assert reply.headers["X-Correlation-Id"] == "too-much"
    assert reply.headers["x-should-retry"] == "false"


# clause: W-15
def test_a_prompt_over_1_mib_is_refused_before_it_is_tokenised(api):
    reply = api.refused(400, prompt="a " * (512 * 1024 + 1))
    assert any(error["field"] == "prompt" for error in reply.json()["errors"])


BAD_JSON = [("not JSON", b"prompt=hello"), ("an array", b"[]"), ("cut off", b'{"job_id":"a",'),
            ("too deep", b'{"messages":' + b"[" * 2000 + b"]" * 2000 + b"}"),
            ("not UTF-8", b'{"job_id":"a","prompt":"\xff\xfe"}'), ("nothing", b"")]


# clause: E-1
@pytest.mark.parametrize("body", [row[1] for row in BAD_JSON], ids=[row[0] for row in BAD_JSON])
def test_a_body_that_is_no_json_object_is_a_400(api, body):
    reply = api.http.post("/execute", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "INVALID_REQUEST"


# clause: W-14
def test_an_unknown_route_names_the_near_one_and_a_wrong_method_the_right_ones(api):
    missing = api.post("/exceute", {})
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "NOT_FOUND"
    assert "/execute" in missing.text
    wrong = api.get("/execute")
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]


# clause: E-5
def test_correlation_id_comes_back_or_is_made(api):
    given = api.post("/cancel", {"job_id": "nobody"}, headers={"X-Correlation-Id": "abc-123"})
    assert given.headers["x-correlation-id"] == "abc-123"
    assert given.json()["error"]["correlation_id"] == "abc-123"
    made = api.get("/health").headers["x-correlation-id"]
    assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", made)
    refused = api.get("/health", headers={"X-Correlation-Id": "a b<script>"})
    assert refused.headers["x-correlation-id"] != "a b<script>"


# clause: E-5
def test_request_id_is_the_job_id(api):
    with api.open(job_id="named-job-1", prompt="Hi", max_tokens=1) as job:
        assert job.response.headers["x-request-id"] == "named-job-1"
        job.rest()


# --- cadence -------------------------------------------------------------------------------------

# clause: W-21
def test_metrics_come_each_second_in_a_long_prefill_and_at_most_four_a_second(narrow):
    times, phases = [], []
    with narrow.open(prompt=long_text(2600, "cadence "), max_tokens=40, ignore_eos=True) as job:
        begin = time.monotonic()
        while (event := job.next()) is not None:
            if event.type == "metrics":
                times.append(time.monotonic())
                phases.append(event.data)
    prefill = [data for data in phases if data["phase"] == "prefill"]
    assert prefill, phases
    total = {data["prompt_total"] for data in prefill}
    assert len(total) == 1 and total.pop() >= 2600
    done = [data["prompt_done"] for data in prefill]
    assert done == sorted(done) and done[-1] > done[0]
    steps = [data["engine_step"] for data in phases]
    assert steps == sorted(steps)
    gaps = [after - before for before, after in zip([begin, *times], times)]
    assert max(gaps[:len(prefill)]) < 2, "at least each second, with slack for a busy machine"
    for first in range(len(times) - 5):
        assert times[first + 5] - times[first] > 0.9, "at most four a second"


# clause: W-24
def test_a_comment_goes_out_after_ten_seconds_of_silence(narrow):
    """A stream of /v1: one of /execute has its metrics each second and is never silent so long."""
    with narrow.open(prompt=long_text(2500), max_tokens=1500, ignore_eos=True) as holder:
        holder.until("started")
        body = {"prompt": "Wait", "max_tokens": 1, "stream": True}
        begin = time.monotonic()
        with narrow.http.stream("POST", "/v1/completions", json=body) as waiting:
            first = next(line for line in waiting.iter_lines() if line)
            assert first.startswith(":"), "the holder must still hold the slot"
            assert 14 < time.monotonic() - begin < 18, "5 s for the headers, 10 s of silence"


# --- relay ---------------------------------------------------------------------------------------

def relay(route, body, **more):
    return {"openai": {"route": route, "body": body, "completion_id": "chatcmpl-of-the-client",
                       "created": 1700000000}, **more}


def relay_events(api, fields):
    """The frames of a relay, those for the client apart from those for the orchestrator."""
    with api.open(**fields) as job:
        answer = job.rest()
    ours = [event for event in answer.events if event.type is not None]
    assert {event.type for event in ours} <= {"started", "metrics", "queued"}
    return [event for event in answer.events if event.type is None]


CHAT = {"model": "alias", "messages": [{"role": "user", "content": "Tell me a story."}],
        "stream": True, "max_tokens": 12, "temperature": 0, "ignore_eos": True,
        "deterministic": True, "stream_options": {"include_usage": True}}


# clause: W-28
def test_relay_frames_are_finished_openai_frames_with_ids(api):
    frames = relay_events(api, relay("/v1/chat/completions", CHAT))
    assert frames[-1] == Event(None, None, "[DONE]")
    role, *tokens, finish, usage = frames[:-1]
    assert role.id is None
    assert role.data["choices"][0]["delta"]["role"] == "assistant"
    assert all(frame.data["id"] == "chatcmpl-of-the-client" for frame in frames[:-1])
    assert all(frame.data["created"] == 1700000000 for frame in frames[:-1])
    assert all(frame.data["object"] == "chat.completion.chunk" for frame in frames[:-1])
    ids = [token for frame in tokens for token in frame.token_ids]
    assert len(ids) == 12
    seq = 1
    for frame in tokens:
        seq += len(frame.token_ids)
        assert frame.seq == seq, "SEQ is that of the frame's last token"
    assert finish.seq == seq + 1 and finish.token_ids == []
    assert finish.data["choices"][0]["finish_reason"] == "length"
    assert usage.id is None
    assert usage.data["choices"] == [] and usage.data["usage"]["completion_tokens"] == 12


# clause: W-28, W-27
def test_relay_resumes_without_role_frame_and_repeats_nothing(api):
    whole = relay_events(api, relay("/v1/chat/completions", CHAT))
    tokens = [frame for frame in whole if frame.token_ids]
    seen = tokens[:len(tokens) // 2]
    ids = [token for frame in seen for token in frame.token_ids]
    rest = relay_events(api, relay("/v1/chat/completions", CHAT, resume_tokens=ids, attempt=1))
    assert [told(frame) for frame in rest] == [told(frame) for frame in whole[1 + len(seen):]]


def told(frame):
    """What a frame says of the answer; how long it took and what was cached differ by run."""
    data = frame.data
    if data != "[DONE]" and data.get("usage"):
        usage = {key: data["usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
        data = {**data, "usage": usage, "timings": None}
    return frame.id, data


# clause: W-28
def test_relay_of_a_body_that_does_not_stream_ends_with_the_whole_reply(api):
    body = {**CHAT, "stream": False}
    del body["stream_options"]
    *frames, done = relay_events(api, relay("/v1/chat/completions", body))
    assert done.data == "[DONE]" and done.id is None
    *tokens, finish = frames
    assert all(frame.data == {} and frame.token_ids for frame in tokens)
    assert finish.token_ids == [] and finish.id is not None
    reply = finish.data
    assert reply["object"] == "chat.completion" and reply["id"] == "chatcmpl-of-the-client"
    assert reply["usage"]["completion_tokens"] == 12
    streamed = relay_events(api, relay("/v1/chat/completions", CHAT))
    text = "".join(frame.data["choices"][0]["delta"].get("content") or ""
                   for frame in streamed if frame.data != "[DONE]" and frame.data["choices"])
    assert reply["choices"][0]["message"]["content"] == text


# clause: W-28
def test_relay_of_completions_has_text_frames(api):
    body = {"prompt": "Once", "stream": True, "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    frames = relay_events(api, relay("/v1/completions", body))
    assert frames[-1].data == "[DONE]"
    assert all(frame.data["object"] == "text_completion" for frame in frames[:-1])
    assert sum(len(frame.token_ids) for frame in frames) == 4


# clause: W-19
def test_reader_itself_refuses_a_cut_event():
    """The parser of these tests must be able to fail."""
    with pytest.raises(AssertionError):
        list(EventReader(iter(["event: token", 'data: {"type":"token"}'])))
