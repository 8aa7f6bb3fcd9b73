"""Count the words of a text in the background, and watch how far it is.

    $ quart --app app run

On the in-memory backend, which is the default here, a worker lives in the app itself. With Redis:

    $ export WORDS_RQ_REDIS_URL=redis://localhost:6379/0
    $ quart --app app rq worker & quart --app app run
"""

import asyncio
from collections import Counter

from quart import Quart, abort, redirect, render_template, request, url_for

from aiorq2 import Job, NoSuchJobError, get_current_job
from aiorq2.quart_ext import RQ

app = Quart(__name__)
app.config.from_mapping(RQ_REDIS_URL="memory://words", MAX_CONTENT_LENGTH=1_000_000)
app.config.from_prefixed_env("WORDS")

rq = RQ(app)

PART = 20
"""How many lines are counted between two words on how far it is."""


@rq.job(timeout="5m", result_ttl="1h", description="count the words of a text")
async def count_words(text: str) -> list[tuple[str, int]]:
    job = get_current_job()
    lines = text.splitlines() or [""]
    words: Counter[str] = Counter()
    for start in range(0, len(lines), PART):
        words.update(
            word.strip(".,;:!?()'\"").lower()
            for line in lines[start : start + PART]
            for word in line.split()
        )
        done = min(start + PART, len(lines))
        await job.progress(done / len(lines), f"{done} of {len(lines)} lines")
        await asyncio.sleep(0.05)  # it is not much work
    del words[""]
    return words.most_common(10)


@app.get("/")
async def index():
    return await render_template("index.html")


@app.post("/")
async def upload():
    form = await request.form
    text = form.get("text", "")
    if not text.strip():
        abort(400, "there is no text")
    job = await count_words.queue(text)
    return redirect(url_for("watch", job_id=job.id), 303)


@app.get("/jobs/<job_id>")
async def watch(job_id: str):
    try:
        job = await Job.fetch(job_id, rq.backend)
    except NoSuchJobError:
        abort(404)
    return await render_template("job.html", job=job)


@app.get("/jobs/<job_id>/result")
async def result(job_id: str):
    try:
        job = await Job.fetch(job_id, rq.backend)
    except NoSuchJobError:
        abort(404)
    return {"status": job.status, "words": job.result}


@app.get("/jobs/<job_id>/events")
async def events(job_id: str):
    return await rq.stream(job_id)


@app.websocket("/jobs/<job_id>/ws")
async def events_by_websocket(job_id: str):
    await rq.stream(job_id)
