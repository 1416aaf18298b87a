"""Goldens that depend on no kernel: token ids, detokenizer streams, rendered templates, sampler draws.

Each module has `build(paths)`, which returns `{file name below golden/any: text}`. `paths` names the
folders a module may read: `root` (the checkout), `any` (golden/any), `shared` (templates that are not
part of the checkout and may be absent).
"""


def build(stage, paths):
    """`tokenizers` must be built, and written, before `tables`, which load them."""
    from . import samplers, small_tokenizers, templates, tokens

    if stage == "tokenizers":
        return {"files": small_tokenizers.build(paths), "left_out": {}}
    files, left_out = {}, {}
    for module in (tokens, templates, samplers):
        files.update(module.build(paths))
        left_out.update(getattr(module, "left_out", lambda _: {})(paths))
    return {"files": files, "left_out": left_out}
