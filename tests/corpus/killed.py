"""``tokenize`` in a process of its own, to be killed. The process is forked from one that has loaded torch."""

import multiprocessing

from dacodec.corpus.tokenizing import tokenize

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["dacodec.corpus.tokenizing", "dacodec.engine.native", "pandas"])


def start(sources, output, **options):
    process = _context.Process(target=_tokenize, args=(sources, output, options))
    process.start()
    return process


def _tokenize(sources, output, options):
    tokenize(sources, output, run=_one_by_one, **options)


def _one_by_one(work, jobs):
    do = work.start()
    for job in jobs:
        for item in job:
            yield do(work.prepare([item]))
