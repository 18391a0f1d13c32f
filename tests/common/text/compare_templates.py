#!/usr/bin/env python3
"""Compares our chat templates with Python's Jinja2, set up as `transformers` sets it up, and prints the figures.

usage: compare_templates.py MODEL.gguf path/to/tandem_render_templates [write ORACLE.json]
needs: pip install jinja2 gguf tokenizers

Renders the model's own template, those in templates/ and small ones for single constructs, over many conversations. With
"write" the conversations and what Jinja2 makes of them are kept for chat_template_oracle_test.
"""
import datetime
import json
import os
import random
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

import hf_tokenizer
import template_cases

HERE = os.path.dirname(os.path.abspath(__file__))


class GenerationTag(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[GenerationTag, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    epoch = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    env.globals["strftime_now"] = epoch.strftime
    return env


def reference(env, job):
    variables = dict(job.get("variables") or {})
    variables.update(messages=job["messages"], tools=job.get("tools"), documents=job.get("documents"), unk_token="",
                     pad_token="", bos_token=job["bos_token"], eos_token=job["eos_token"],
                     add_generation_prompt=job["add_generation_prompt"])
    try:
        return env.from_string(job["template"]).render(**variables)
    except Exception as error:  # whatever Python raises, we must refuse as well
        return error


def jobs(model):
    rng = random.Random(11)
    templates = {"the model's own": model.chat_template}
    for name in sorted(os.listdir(os.path.join(HERE, "templates"))):
        with open(os.path.join(HERE, "templates", name), encoding="utf-8") as file:
            templates[name] = file.read()
    out = []
    for name, template in templates.items():
        for case in template_cases.conversations(rng, 150):
            out.append((name, dict(case, template=template)))
    for template in template_cases.CONSTRUCTS:
        for case in template_cases.conversations(rng, 3):
            out.append(("constructs", dict(case, template=template)))
    return out


def main():
    if len(sys.argv) not in (3, 5):
        raise SystemExit(__doc__)
    env, all_jobs = environment(), jobs(hf_tokenizer.Model(sys.argv[1]))
    lines = "".join(json.dumps(job) + "\n" for _, job in all_jobs)
    out = subprocess.run([sys.argv[2]], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
    answers = [json.loads(line) for line in out.split("\n") if line]
    counts, failures, oracle, kept = {}, 0, [], {}
    for (name, job), answer in zip(all_jobs, answers):
        expected = reference(env, job)
        refused = isinstance(expected, Exception)
        agrees = "error" in answer if refused else answer.get("text") == expected
        count = counts.setdefault(name, [0, 0, 0])
        count[0] += 1
        count[1] += refused
        count[2] += not agrees
        if not agrees:
            failures += 1
            if failures <= 12:
                print("%s\n  template %r\n  messages %s\n  expected %r\n  got      %s" % (
                    name, job["template"][:300], json.dumps(job["messages"])[:300], expected, answer))
        kept[job["template"]] = kept.get(job["template"], 0) + 1
        if kept[job["template"]] <= cases_to_keep(name, job["template"]):
            oracle.append(dict(job, **({"error": True} if refused else {"expected": expected})))
    for name, (total, refused, wrong) in counts.items():
        print("%-28s %5d rendered, %4d refused by both, %d differ" % (name, total, refused if not wrong else 0, wrong))
    if len(sys.argv) == 5:
        with open(sys.argv[4], "w", encoding="utf-8") as file:
            json.dump(pack(oracle), file, ensure_ascii=False, separators=(",", ":"), indent=0)
    print("agree" if failures == 0 else "%d DIFFERENCES" % failures)
    return failures != 0


def cases_to_keep(name, template):
    """The kept file stays small: what does not look at the conversation needs one only."""
    if name != "constructs":
        return 8
    return 2 if "messages" in template else 1


def pack(oracle):
    """Templates once, jobs by number."""
    templates = []
    for job in oracle:
        if job["template"] not in templates:
            templates.append(job["template"])
        job["template"] = templates.index(job["template"])
    return {"templates": templates, "jobs": oracle}


if __name__ == "__main__":
    sys.exit(main())
