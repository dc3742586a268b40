#!/usr/bin/env python3
"""Writes chat_vectors.json: conversations as Transformers renders them (apply_chat_template), for each
template family in the spellings models are published with. Needs `transformers`; run by hand when a
template is added. The tests only read the result."""

import json
import pathlib

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    # SmolLM2-Instruct's own.
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}",
    # A default system message in an else branch, double quotes, as the Qwen2.5 models have it.
    "chatml_else": '{%- if messages[0]["role"] == "system" %}{{- "<|im_start|>system\\n" + '
    'messages[0]["content"] + "<|im_end|>\\n" }}{%- else %}{{- "<|im_start|>system\\nYou help.'
    '<|im_end|>\\n" }}{%- endif %}{%- for message in messages %}{%- if message.role != "system" or '
    'not loop.first %}{{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>" + '
    '"\\n" }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" '
    "}}{%- endif %}",
    "llama3": "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] "
    "+ '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "alpaca": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' and "
    "loop.first %}{{ message['content'] }}{% elif message['role'] == 'user' %}"
    "{{ '### Instruction:\n' + message['content'] }}{% elif message['role'] == 'assistant' %}"
    "{{ '### Response:\n' + message['content'] + eos_token }}{% endif %}{% if not loop.last %}"
    "{{ '\n\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\n\n### Response:\n' }}"
    "{% endif %}",
    "mistral": "{%- if messages[0]['role'] == 'system' %}{%- set system_message = "
    "messages[0]['content'] %}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}"
    "{%- endif %}{{- bos_token }}{%- for message in rest %}{%- if message['role'] == 'user' %}"
    "{%- if loop.first and system_message is defined %}{{- ' [INST] ' + system_message + '\\n\\n' + "
    "message['content'] + ' [/INST]' }}{%- else %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}"
    "{%- endif %}{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}",
    "mistral_plain": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token}}"
    "{% endif %}{% endfor %}",
    "mistral_last": '{%- if messages[0]["role"] == "system" %}{%- set system_message = '
    'messages[0]["content"] %}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}'
    '{%- endif %}{{- bos_token }}{%- for message in rest %}{%- if message["role"] == "user" %}'
    '{%- if loop.last and system_message is defined %}{{- "[INST] " + system_message + "\\n\\n" + '
    'message["content"] + "[/INST]" }}{%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}'
    '{%- endif %}{%- else %}{{- " " + message["content"]|trim + eos_token }}{%- endif %}{%- endfor %}',
}
SYSTEM = {"role": "system", "content": "Answer in rhyme."}
ASK = {"role": "user", "content": "  What is a cat?\n"}
TELL = {"role": "assistant", "content": " A \u732b, \u00e9l\u00e9gant.\u3000"}
MORE = {"role": "user", "content": "And <|im_end|> or </s>?"}
DONE = {"role": "assistant", "content": "\n\nNo.\n"}
CONVERSATIONS = {
    "ask": [ASK],
    "answered": [ASK, TELL],
    "system": [SYSTEM, ASK, TELL],
    "long": [ASK, TELL, MORE, DONE],
    "system_long": [SYSTEM, ASK, TELL, MORE],
    "empty_answer": [ASK, {"role": "assistant", "content": ""}],
}


def main():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")),
        bos_token="<s>", eos_token="</s>")
    vectors = []
    for name, template in TEMPLATES.items():
        for conversation, messages in CONVERSATIONS.items():
            if name == "mistral_plain" and messages[0]["role"] == "system":
                continue  # that template has no place for it
            for prompt in (False, True):
                text = tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=prompt)
                vectors.append({"template": name, "conversation": conversation,
                                "add_generation_prompt": prompt, "text": text})
    path = pathlib.Path(__file__).with_name("chat_vectors.json")
    path.write_text(json.dumps({"templates": TEMPLATES, "conversations": CONVERSATIONS,
                                "vectors": vectors}, indent=1) + "\n")
    print(f"{path}: {len(vectors)} vectors")


if __name__ == "__main__":
    main()
