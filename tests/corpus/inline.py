"""A runner in this process: tests need not wait for others to start."""


def run(work, jobs):
    do = work.start()
    for job in jobs:
        yield do(work.prepare(job))
