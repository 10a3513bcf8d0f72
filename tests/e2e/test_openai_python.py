"""The official Python `openai` client, unchanged but for base_url: chat, tools, formats, completions."""

import asyncio
import json
import time
from typing import Literal

import openai
import pydantic
import pytest

from sdk import ASK, SHORT, client_for, text_of
from support import REPLY_S, all_at_once, wait_until

@pytest.fixture
def client(worker, api):
    """The client under test; `api` sees to it that no slot stays taken."""
    with client_for(worker) as made:
        yield made


# --- chat ----------------------------------------------------------------------------------------

# clause: W-31
def test_chat_reply_has_openais_shape(client):
    before = int(time.time())
    reply = client.chat.completions.create(messages=ASK, **SHORT)
    assert reply.object == "chat.completion" and reply.id.startswith("chatcmpl-")
    assert reply.model == "smollm2", "any model is accepted, our own is named"
    assert before - 1 <= reply.created <= int(time.time()) + 1
    (choice,) = reply.choices
    assert choice.index == 0 and choice.finish_reason == "length" and choice.logprobs is None
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.message.tool_calls is None
    assert reply.usage.completion_tokens == 16 and reply.usage.prompt_tokens > 5
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 16
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0
    assert reply._request_id


# clause: W-31, W-22
def test_chat_stream_says_the_same_as_the_whole_reply(client):
    whole = client.chat.completions.create(messages=ASK, **SHORT)
    chunks = list(client.chat.completions.create(messages=ASK, stream=True, **SHORT))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:])
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 8, "streamed, not handed over at the end"


# clause: W-35
def test_include_usage_adds_one_last_frame(client):
    chunks = list(client.chat.completions.create(messages=ASK, stream=True,
                                                 stream_options={"include_usage": True}, **SHORT))
    *others, last = chunks
    assert last.choices == [] and last.usage.completion_tokens == 16
    assert last.usage.total_tokens == last.usage.prompt_tokens + 16
    assert all(chunk.usage is None for chunk in others)


MESSAGE_SHAPES = [
    ("system", [{"role": "system", "content": "Be brief."}, *ASK]),
    ("developer", [{"role": "developer", "content": "Be brief."}, *ASK]),
    ("several turns", [*ASK, {"role": "assistant", "content": "It is wet."},
                       {"role": "user", "content": "And the sky?"}]),
    ("text parts", [{"role": "user", "content": [{"type": "text", "text": "Tell me "},
                                                 {"type": "text", "text": "about the sea."}]}]),
    ("a named user", [{"role": "user", "name": "ada", "content": "Hello"}]),
    ("a tool's result", [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain, 4 degrees"}]),
]


# clause: W-33
@pytest.mark.parametrize("messages", [row[1] for row in MESSAGE_SHAPES],
                         ids=[row[0] for row in MESSAGE_SHAPES])
def test_message_shapes_are_taken(client, messages):
    reply = client.chat.completions.create(messages=messages, **SHORT)
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.completion_tokens > 0


# clause: W-33
def test_text_parts_are_the_same_prompt_as_one_string(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Tell me about the sea."}]}]
    asked = [client.chat.completions.create(messages=messages, **SHORT) for messages in (ASK, parts)]
    assert asked[0].usage.prompt_tokens == asked[1].usage.prompt_tokens
    assert asked[0].choices[0].message.content == asked[1].choices[0].message.content


# clause: W-15
def test_equal_seeds_give_equal_text_and_different_seeds_do_not(client):
    def say(seed):
        return client.chat.completions.create(messages=ASK, **{**SHORT, "seed": seed, "temperature": 1.3}
                                              ).choices[0].message.content
    assert say(1) == say(1)
    assert len({say(seed) for seed in (1, 2, 3)}) == 3


# clause: W-32
def test_max_completion_tokens_is_max_tokens_and_a_stop_is_finish_reason_stop(client):
    fields = {key: value for key, value in SHORT.items() if key != "max_tokens"}
    reply = client.chat.completions.create(messages=ASK, max_completion_tokens=3, **fields)
    assert reply.usage.completion_tokens == 3
    hello = [{"role": "user", "content": "Say hi."}]
    reply = client.chat.completions.create(messages=hello, **fields)
    assert reply.choices[0].finish_reason == "stop", "absent, it ends by itself"


# clause: W-23
@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_the_text_before_them(client, stream):
    text = client.chat.completions.create(messages=ASK, **SHORT).choices[0].message.content
    stop = text[14:19]  # crosses token borders somewhere
    reply = client.chat.completions.create(messages=ASK, stop=[stop, "\u2603"], stream=stream, **SHORT)
    if stream:
        chunks = list(reply)
        got, reason = text_of(chunks), chunks[-1].choices[0].finish_reason
    else:
        got, reason = reply.choices[0].message.content, reply.choices[0].finish_reason
    assert got == text[:text.index(stop)] and reason == "stop"


# clause: W-35
@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_name_each_token_and_its_alternatives(client, stream):
    reply = client.chat.completions.create(messages=ASK, logprobs=True, top_logprobs=4, stream=stream,
                                           **SHORT)
    if stream:
        chunks = list(reply)
        text = text_of(chunks)
        rows = [row for chunk in chunks if chunk.choices and chunk.choices[0].logprobs
                for row in chunk.choices[0].logprobs.content or []]
    else:
        text, rows = reply.choices[0].message.content, reply.choices[0].logprobs.content
    assert len(rows) == 16
    assert b"".join(bytes(row.bytes) for row in rows).decode() == text
    for row in rows:
        assert row.logprob <= 0 and len(row.top_logprobs) == 4
        alternatives = [other.logprob for other in row.top_logprobs]
        assert alternatives == sorted(alternatives, reverse=True)
        assert row.top_logprobs[0].token == row.token, "greedy takes the likeliest"
        assert row.top_logprobs[0].logprob == pytest.approx(row.logprob, abs=1e-4)


# clause: W-35
def test_logprobs_without_alternatives_have_an_empty_list(client):
    reply = client.chat.completions.create(messages=ASK, logprobs=True, **SHORT)
    assert all(row.top_logprobs == [] for row in reply.choices[0].logprobs.content)


# clause: W-31
def test_logit_bias_moves_the_choice(client, api):
    (token,) = api.post("/tokenize", {"content": " blue"}).json()["tokens"]
    reply = client.chat.completions.create(messages=ASK, logit_bias={str(token): 100},
                                           **{**SHORT, "max_tokens": 5})
    assert reply.choices[0].message.content == " blue" * 5


# clause: W-31
def test_unknown_fields_are_ignored_and_ours_are_taken(client):
    reply = client.chat.completions.create(
        messages=ASK, user="somebody", metadata={"a": "b"},
        extra_body={"no_such_field": {"a": 1}, "ignore_eos": True, "deterministic": True, "top_k": 3},
        **SHORT)
    assert reply.usage.completion_tokens == 16


# --- formats and tools ---------------------------------------------------------------------------

class City(pydantic.BaseModel):
    name: Literal["Oslo", "Rome", "東京", "São Paulo 🌆"]
    people: int
    warm: bool


# clause: W-29
def test_a_pydantic_model_is_parsed_by_the_sdk(client):
    reply = client.chat.completions.parse(messages=ASK, response_format=City, model="any", seed=3,
                                          max_tokens=200)
    assert reply.choices[0].finish_reason == "stop"
    assert isinstance(reply.choices[0].message.parsed, City)


# clause: W-29, W-22
def test_the_sdks_stream_helper_parses_the_schema_too(client):
    with client.chat.completions.stream(messages=ASK, response_format=City, model="any", seed=4,
                                        max_tokens=200) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, City)


# clause: W-29
def test_json_object_gives_an_object(client):
    reply = client.chat.completions.create(
        messages=[{"role": "user", "content": 'Reply with {"ok": true} as JSON.'}], model="any",
        response_format={"type": "json_object"}, max_tokens=150, temperature=0)
    choice = reply.choices[0]
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


# clause: W-29
@pytest.mark.parametrize("word", ["🔥🐉火の国から来た龍", "👩‍👩‍👧‍👦 family", "Ünïcödé ñandú"])
def test_characters_of_many_tokens_are_never_split_in_a_stream(client, word):
    fields = {"messages": [{"role": "user", "content": f"{word} " * 40}], "model": "any",
              "max_tokens": 120, "temperature": 0, "response_format": {
                  "type": "json_schema", "json_schema": {"name": "w", "schema": {"enum": [word]}}}}
    whole = client.chat.completions.create(**fields).choices[0].message.content
    chunks = list(client.chat.completions.create(stream=True, **fields))
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert json.loads(whole) == word
    assert "".join(deltas) == whole
    assert not any("\ufffd" in delta for delta in deltas)


# clause: W-22
def test_a_stream_of_a_long_utf8_prompt_equals_the_whole_reply(client):
    story = "昔々、あるところに🐉と🔥がいました。Ça va? Привет мир! " * 12
    fields = {"messages": [{"role": "user", "content": story}], **SHORT, "max_tokens": 48,
              "extra_body": {"ignore_eos": True, "deterministic": True}}
    whole = client.chat.completions.create(**fields).choices[0].message.content
    deltas = [chunk.choices[0].delta.content or ""
              for chunk in client.chat.completions.create(stream=True, **fields)]
    assert "".join(deltas) == whole


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "additionalProperties": False, "required": ["city", "days"],
                       "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]},
                                      "days": {"type": "integer"}}}}},
    {"type": "function", "function": {
        "name": "set_light", "description": "Switches a light",
        "parameters": {"type": "object", "additionalProperties": False, "required": ["on"],
                       "properties": {"on": {"type": "boolean"}}}}},
]
TOOL_ASK = {"messages": [{"role": "user", "content": "What is the weather in Oslo for 3 days?"}],
            "model": "any", "tools": TOOLS, "max_tokens": 250, "seed": 2, "temperature": 0}


def check_call(name, arguments):
    values = json.loads(arguments)
    if name == "get_weather":
        assert values["city"] in ("Oslo", "Rome") and isinstance(values["days"], int)
    else:
        assert name == "set_light" and isinstance(values["on"], bool)


# clause: W-34
def test_a_required_tool_is_called_with_json_arguments(client):
    reply = client.chat.completions.create(tool_choice="required", parallel_tool_calls=False, **TOOL_ASK)
    (choice,) = reply.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.id
    check_call(call.function.name, call.function.arguments)


# clause: W-34
def test_a_named_tool_is_the_one_that_is_called(client):
    reply = client.chat.completions.create(
        tool_choice={"type": "function", "function": {"name": "set_light"}}, **TOOL_ASK)
    calls = reply.choices[0].message.tool_calls
    assert calls and {call.function.name for call in calls} == {"set_light"}
    for call in calls:
        check_call(call.function.name, call.function.arguments)


# clause: W-34
def test_automatic_choice_gives_text_or_calls_and_none_gives_text(client):
    reply = client.chat.completions.create(tool_choice="auto", **TOOL_ASK)
    message = reply.choices[0].message
    assert message.content or message.tool_calls
    for call in message.tool_calls or []:
        check_call(call.function.name, call.function.arguments)
    none = client.chat.completions.create(tool_choice="none", **{**TOOL_ASK, "max_tokens": 20})
    assert none.choices[0].message.tool_calls is None and none.choices[0].message.content


# clause: W-34
def test_tool_deltas_of_a_stream_join_to_the_call(client):
    fields = {**TOOL_ASK, "tool_choice": "required", "extra_body": {"deterministic": True}}
    whole = client.chat.completions.create(**fields).choices[0].message
    chunks = list(client.chat.completions.create(stream=True, **fields))
    calls = {}
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or []:
            if delta.id:
                assert delta.index not in calls, "id and name come once"
                calls[delta.index] = {"name": delta.function.name, "arguments": ""}
            calls[delta.index]["arguments"] += delta.function.arguments or ""
    assert [(call["name"], call["arguments"]) for call in calls.values()] == [
        (call.function.name, call.function.arguments) for call in whole.tool_calls]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert text_of(chunks) == (whole.content or "")


# clause: W-34, W-33
def test_a_whole_round_of_tool_use(client):
    first = client.chat.completions.create(tool_choice="required", parallel_tool_calls=False, **TOOL_ASK)
    call = first.choices[0].message.tool_calls[0]
    messages = [*TOOL_ASK["messages"], first.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": '{"sky":"rain"}'}]
    reply = client.chat.completions.create(messages=messages, tools=TOOLS, **SHORT)
    assert reply.usage.prompt_tokens > first.usage.prompt_tokens


# --- completions and models ----------------------------------------------------------------------

# clause: W-31
def test_completions_give_text_and_can_echo(client):
    reply = client.completions.create(prompt="The sea is", **SHORT)
    assert reply.object == "text_completion" and reply.choices[0].finish_reason == "length"
    assert reply.model == "smollm2" and reply.usage.completion_tokens == 16
    echoed = client.completions.create(prompt="The sea is", echo=True, **SHORT)
    assert echoed.choices[0].text == "The sea is" + reply.choices[0].text
    chunks = list(client.completions.create(prompt="The sea is", stream=True, **SHORT))
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


# clause: W-35
def test_completions_logprobs_have_the_older_shape(client):
    reply = client.completions.create(prompt="The sea is", logprobs=3, **SHORT)
    rows = reply.choices[0].logprobs
    assert len(rows.tokens) == len(rows.token_logprobs) == len(rows.text_offset) == 16
    assert "".join(rows.tokens) == reply.choices[0].text
    assert all(value <= 0 for value in rows.token_logprobs)
    assert all(1 <= len(top) <= 4 for top in rows.top_logprobs)
    widths = [after - before for before, after in zip(rows.text_offset, rows.text_offset[1:])]
    assert widths == [len(token) for token in rows.tokens[:-1]]


# clause: W-31
def test_token_ids_are_a_prompt_too(client, api):
    tokens = api.post("/tokenize", {"content": "The sea is"}).json()["tokens"]
    by_ids = client.completions.create(prompt=tokens, **SHORT)
    by_text = client.completions.create(prompt="The sea is", **SHORT)
    assert by_ids.choices[0].text == by_text.choices[0].text


# clause: W-31
def test_models_lists_our_one_model(client):
    (model,) = client.models.list().data
    assert model.id == "smollm2" and model.object == "model" and model.created > 0 and model.owned_by
    assert client.models.retrieve("smollm2").id == "smollm2"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


# --- many at once --------------------------------------------------------------------------------

# clause: W-31
def test_eight_concurrent_async_streams_all_finish(worker, api):
    async def one(client, number):
        stream = await client.chat.completions.create(
            messages=[{"role": "user", "content": f"Count from {number}."}], stream=True, model="any",
            max_tokens=24, extra_body={"ignore_eos": True}, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        return text_of(chunks), chunks[-1].usage.completion_tokens

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=worker.openai_url, api_key="unused", max_retries=0,
                                      timeout=REPLY_S) as client:
            return await asyncio.gather(*(one(client, number) for number in range(8)))
    answers = asyncio.run(all_of_them())
    assert [tokens for _, tokens in answers] == [24] * 8
    assert all(text for text, _ in answers)


# clause: W-25
def test_closing_a_stream_frees_the_slot(client, api):
    fields = {**SHORT, "max_tokens": 1500, "extra_body": {"ignore_eos": True}}
    stream = client.chat.completions.create(messages=ASK, stream=True, **fields)
    next(iter(stream))
    assert api.health()["slots_busy"] == 1
    stream.close()
    api.wait_idle(3)


# clause: W-25
def test_a_client_that_times_out_frees_the_slot(worker, client, api):
    fields = {**SHORT, "max_tokens": 1500, "extra_body": {"ignore_eos": True}}
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(messages=ASK, **fields)
    api.wait_idle(3)


# clause: W-25
def test_a_cancelled_async_task_frees_the_slot(worker, api):
    async def leave():
        async with openai.AsyncOpenAI(base_url=worker.openai_url, api_key="unused") as client:
            task = asyncio.create_task(client.chat.completions.create(
                messages=ASK, **{**SHORT, "max_tokens": 1500}, extra_body={"ignore_eos": True}))
            await asyncio.to_thread(wait_until, lambda: api.health()["slots_busy"] == 1, "busy")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    asyncio.run(leave())
    api.wait_idle(3)


# clause: W-31
def test_whole_replies_side_by_side_do_not_mix(client):
    words = ["alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta"]

    def ask(word):
        schema = {"type": "json_schema", "json_schema": {"name": "w", "schema": {"enum": [word]}}}
        return lambda: client.chat.completions.create(
            messages=ASK, model="any", max_tokens=60, response_format=schema)
    replies = all_at_once([ask(word) for word in words])
    assert [json.loads(reply.choices[0].message.content) for reply in replies] == words
    assert len({reply.id for reply in replies}) == len(words)
