"""Trains the demo model: seeded data, packed rows, AdamW, bf16; then scores greedy answers to the held-out cases.

Run: python train.py --out OUT [--max-seconds 300] [--steps 12000] [--conversations 1000000]
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import checks
import corpus
import heldout
import model as net
import render

ROW = 768
CHUNK = 10000
PROMPT_WEIGHT = 0.1


def pack(job):
    """Tokens, document numbers and loss weights of CHUNK conversations in rows of ROW; one chunk, one seed."""
    seed, count = job
    rng, prompt = random.Random(f"demo-{seed}"), render.make_renderer()
    tokenizer = Tokenizer.from_file(str(render.MODEL / "tokenizer.json"))
    rows, ids, docs, weights, doc = [], [], [], [], 0

    def close():
        pad = ROW + 1 - len(ids)
        rows.append((ids + [1] * pad, docs + [-1] * pad, weights + [0] * pad))

    blocked = heldout.user_texts()
    for _ in range(count):
        case = corpus.example(rng)
        if any(m["role"] == "user" and corpus.normal(m["content"]) in blocked for m in case["messages"]):
            continue
        a = tokenizer.encode(prompt(case), add_special_tokens=False).ids
        b = tokenizer.encode(render.completion(case), add_special_tokens=False).ids
        if len(a) + len(b) > ROW:
            continue
        if len(ids) + len(a) + len(b) > ROW + 1:
            close()
            ids, docs, weights, doc = [], [], [], 0
        ids, docs = ids + a + b, docs + [doc] * (len(a) + len(b))
        weights, doc = weights + [1] * len(a) + [2] * len(b), doc + 1
    close()
    return tuple(np.array(part, dtype=kind) for part, kind in zip(zip(*rows), (np.int16, np.int16, np.int8)))


def loss_of(model, ids, docs, weights):
    """Weighted cross-entropy; a token sees its own conversation only."""
    x, y = ids[:, :-1], ids[:, 1:]
    d = docs[:, :-1]
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
    mask = (d[:, None, :, None] == d[:, None, None, :]) & causal
    logits = model(x, mask)
    each = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), reduction="none")
    w = (weights[:, 1:] == 2).float() + PROMPT_WEIGHT * (weights[:, 1:] == 1).float() * (d == docs[:, 1:])
    w = w.flatten()
    return (each * w).sum() / w.sum().clamp(min=1)


def rate(progress, peak):
    warm = 0.03
    if progress < warm:
        return peak * progress / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))))


CALL = re.compile(r'<function name="([^"]*)">(.*?)</function>', re.S)
PARAM = re.compile(r'<param name="([^"]*)">(.*?)</param>', re.S)


def split_answer(text, thinking):
    """(content, reasoning, calls) of a completion, the way a server splits it."""
    reasoning = ""
    if thinking is not False:
        reasoning, _, text = text.partition("</think>")
        reasoning = reasoning.replace("<think>", "")
    calls = [{"name": name, "arguments": dict(PARAM.findall(body))} for name, body in CALL.findall(text)]
    return CALL.sub("", text).strip(), reasoning.strip(), calls


@torch.no_grad()
def answers(model, tokenizer, cases, device, limit=160):
    """Greedy completions in bf16 (no cache: the model is tiny)."""
    prompt, out = render.make_renderer(), {}
    todo = sorted(((tokenizer.encode(prompt(c), add_special_tokens=False).ids, i) for i, c in enumerate(cases)), key=lambda t: len(t[0]))
    for start in range(0, len(todo), 256):
        part = todo[start : start + 256]
        length = torch.tensor([len(ids) for ids, _ in part], device=device)
        ids = torch.ones(len(part), int(length.max()) + limit, dtype=torch.long)
        for row, (tokens, _) in enumerate(part):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        ids, rows, begun = ids.to(device), torch.arange(len(part), device=device), length.clone()
        done = torch.zeros(len(part), dtype=torch.bool, device=device)
        for _ in range(limit):
            top = int(length.max())
            following = model(ids[:, :top])[rows, length - 1].argmax(-1)
            done |= following == 1531
            ids[rows, length] = torch.where(done, torch.ones_like(following), following)
            length = torch.where(done, length, length + 1)
            if bool(done.all()):
                break
        for row, (_, i) in enumerate(part):
            text = tokenizer.decode(ids[row, int(begun[row]) : int(length[row])].tolist(), skip_special_tokens=False)
            out[i] = (text, bool(done[row]))
    return [out[i] for i in range(len(cases))]


def score(model, tokenizer, cases, device, limit=160):
    """(table by category, failures) of the held-out cases."""
    half = net.Llama(model.shape).to(device, torch.bfloat16)
    half.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    table, failures = {}, []
    for case, (text, done) in zip(cases, answers(half.eval(), tokenizer, cases, device, limit)):
        content, reasoning, calls = split_answer(text, case["thinking"])
        why = checks.judge(case, content, reasoning, calls, "stop" if done else "length")
        right, total = table.get(case["category"], (0, 0))
        table[case["category"]] = (right + (why is None), total + 1)
        if why:
            failures.append({"category": case["category"], "why": why, "messages": case["messages"], "answer": text, "check": case["check"], "thinking": case["thinking"]})
    return table, failures


def report(table):
    for name, (right, total) in sorted(table.items()):
        print(f"  {name:26s} {right:4d}/{total:4d} {100 * right / total:6.1f}%")
    right, total = (sum(v[i] for v in table.values()) for i in (0, 1))
    print(f"  {'all':26s} {right:4d}/{total:4d} {100 * right / total:6.1f}%", flush=True)
    return right / total


class Trainer:
    def __init__(self, args, device):
        self.args, self.device = args, device
        torch.manual_seed(args.seed)
        torch.backends.cuda.matmul.allow_tf32 = True
        self.model = net.Llama().to(device)
        matrices = [w for w in self.model.parameters() if w.ndim == 2]
        vectors = [w for w in self.model.parameters() if w.ndim != 2]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": args.decay}, {"params": vectors, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98), fused=device == "cuda")
        self.loss = torch.compile(loss_of) if device == "cuda" and not args.eager else loss_of

    def step(self, batch, progress):
        for group in self.optimizer.param_groups:
            group["lr"] = rate(progress, self.args.lr)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = self.loss(self.model, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class Rows:
    """Shuffled batches over the packed rows, epoch after epoch."""

    def __init__(self, chunks, batch, device, seed):
        parts = [np.concatenate(p) for p in zip(*chunks)]
        self.data = [torch.from_numpy(p).to(device) for p in parts]
        self.batch, self.device = batch, device
        self.generator, self.order, self.at = torch.Generator().manual_seed(seed), None, 0

    def next(self):
        count = len(self.data[0])
        if self.order is None or self.at + self.batch > count:
            self.order, self.at = torch.randperm(count, generator=self.generator).to(self.device), 0
        rows = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        ids, docs, weights = (d[rows] for d in self.data)
        return ids.long(), docs, weights


def parse():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--max-seconds", type=float, default=1e9, help="stop training in time; the schedule shrinks to fit")
    args.add_argument("--steps", type=int, default=16000)
    args.add_argument("--conversations", type=int, default=1000000)
    args.add_argument("--batch", type=int, default=48, help="rows of 768 tokens")
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--decay", type=float, default=0.1)
    args.add_argument("--seed", type=int, default=7)
    args.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    args.add_argument("--cases", type=int, default=10000, help="score at most that many held-out cases")
    args.add_argument("--eager", action="store_true", help="no torch.compile")
    return args.parse_args()


def main():
    args, began = parse(), time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    size = min(CHUNK, args.conversations)
    jobs = [(k, size) for k in range(args.conversations // size)]
    pool = multiprocessing.get_context("fork").Pool(args.workers)
    made = pool.imap(pack, jobs)
    everything = heldout.cases()
    cases = random.Random(0).sample(everything, k=min(args.cases, len(everything)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(args, device)
    tokenizer = Tokenizer.from_file(str(render.MODEL / "tokenizer.json"))
    chunks = [next(made) for _ in range(-(-len(jobs) // 4))]  # the rest is made while the first steps run
    rows = Rows(chunks, args.batch, device, args.seed)
    print(f"{len(rows.data[0])} rows, {sum(p.numel() for p in trainer.model.parameters())} parameters, {time.time() - began:.0f} s", flush=True)

    def clock():
        if device == "cuda":
            torch.cuda.synchronize()
        return time.time()

    for smoke in range(5):  # compiles and shows that a step works
        try:
            loss = trainer.step(rows.next(), 1e-4)
        except Exception as error:  # no working compiler: train without one
            if trainer.loss is loss_of:
                raise
            print("torch.compile failed, going on without it:", str(error)[:300], flush=True)
            trainer.loss = loss_of
            loss = trainer.step(rows.next(), 1e-4)
    print(f"smoke loss {loss.item():.3f}, {clock() - began:.0f} s", flush=True)
    timed = clock()
    for smoke in range(15):
        trainer.step(rows.next(), 1e-3)
    print(f"{(clock() - timed) / 15 * 1e3:.1f} ms a step", flush=True)
    start, step, progress, extended = clock(), 0, 0.0, False
    while progress < 1:
        loss = trainer.step(rows.next(), progress)
        step += 1
        if step % 25 == 0 or device == "cpu":  # the clock is read in step with the device
            elapsed = clock() - start
        progress = max(step / args.steps, elapsed / max(1.0, args.max_seconds - (start - began)) if step >= 25 or device == "cpu" else 0.0)
        if not extended and (step == 1500 or progress > 0.15):
            chunks, extended = chunks + list(made), True
            rows = Rows(chunks, args.batch, device, args.seed + 1)
            print(f"{len(rows.data[0])} rows, {time.time() - began:.0f} s", flush=True)
        if step % 400 == 0:
            print(f"step {step} progress {progress:.3f} loss {loss.item():.4f} {time.time() - began:.0f} s", flush=True)
        if step % 4000 == 0:
            net.save(trainer.model, args.out)
    net.save(trainer.model, args.out)
    table, failures = score(trainer.model, tokenizer, cases, device)
    report(table)
    (args.out / "score.json").write_text(json.dumps({"cases": heldout.fingerprint(everything), "table": table, "steps": step, "failures": failures}, indent=1))
    print(f"done, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
