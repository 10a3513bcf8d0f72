"""A chat as text, by real Jinja from a published template: what a model was trained to be asked with.
render_templates.py makes the vectors of src/prompt with it; the tiny models are checked against it."""

import jinja2.sandbox


def refuse(message):
    raise ValueError(message)


def render(template, messages, bos="", eos="", **variables):
    """The text that transformers would make of `messages` ([{role, content}]), ready for an answer."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    fields = {"add_generation_prompt": True, "bos_token": bos, "eos_token": eos} | variables
    return environment.from_string(template).render(messages=messages, **fields)
