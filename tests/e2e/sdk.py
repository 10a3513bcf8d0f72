"""The official Python client as the tests use it: nothing changed but base_url, and no retries."""

import openai

from support import REPLY_S

ASK = [{"role": "user", "content": "Tell me about the sea."}]
SHORT = {"model": "gpt-4o-mini", "max_tokens": 16, "seed": 5, "temperature": 0}


def client_for(worker, **options):
    return openai.OpenAI(base_url=worker.openai_url,
                         **{"api_key": "unused", "max_retries": 0, "timeout": REPLY_S, **options})


def text_of(chunks):
    """The text of a chat stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
