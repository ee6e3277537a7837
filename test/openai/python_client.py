"""OpenAI's own Python client, unmodified, through a whole supervised job. Prints one JSON object; any failed
expectation raises."""

import hashlib
import json
import sys
import time

import httpx2 as httpx
import openai

BASE, KEY, DATA = sys.argv[1], sys.argv[2], sys.argv[3]
answers: list[dict] = []


def record(response: httpx.Response) -> None:
    response.read()
    if "application/json" in response.headers.get("content-type", ""):
        answers.append(
            {
                "method": response.request.method,
                "path": response.request.url.raw_path.decode(),
                "status": response.status_code,
                "request_id": response.headers.get("x-request-id"),
            }
        )


client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY)
recording = openai.OpenAI(
    base_url=f"{BASE}/v1", api_key=KEY, http_client=httpx.Client(event_hooks={"response": [record]}, timeout=60)
)


def ended(job_id: str):
    for _ in range(1200):
        job = recording.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.2)
    raise TimeoutError(job_id)


with open(DATA, "rb") as handle:
    data = handle.read()

# Upload in parts with a checksum, like the client's own helper.
upload = recording.uploads.create(bytes=len(data), filename="train.jsonl", mime_type="text/jsonl", purpose="fine-tune")
half = len(data) // 2
parts = [recording.uploads.parts.create(upload.id, data=chunk) for chunk in (data[:half], data[half:])]
completed = recording.uploads.complete(upload.id, part_ids=[p.id for p in parts], md5=hashlib.md5(data).hexdigest())
assert completed.file is not None and completed.file.bytes == len(data)
file = recording.files.wait_for_processing(completed.file.id, poll_interval=0.1)
assert file.status == "processed", file

job = recording.fine_tuning.jobs.create(
    model="tiny",
    training_file=file.id,
    suffix="py",
    hyperparameters={"n_epochs": 2, "batch_size": 4},
    metadata={"client": "python"},
)
done = ended(job.id)
assert done.status == "succeeded", done
assert done.fine_tuned_model and done.fine_tuned_model.startswith("ft:tiny:")
events = list(recording.fine_tuning.jobs.list_events(job.id, limit=3))
assert len(events) > 3 and len({e.id for e in events}) == len(events)
checkpoints = list(recording.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
assert checkpoints and checkpoints[0].fine_tuned_model_checkpoint.startswith(done.fine_tuned_model + ":ckpt-step-")
filtered = [j.id for j in recording.fine_tuning.jobs.list(metadata={"client": "python"})]
assert filtered == [job.id], filtered

chat = recording.chat.completions.create(
    model=done.fine_tuned_model, messages=[{"role": "user", "content": "My card was stolen"}], max_tokens=6
)
assert chat.usage and chat.usage.completion_tokens >= 1 and chat._request_id
stream = client.chat.completions.create(
    model=checkpoints[0].fine_tuned_model_checkpoint,
    messages=[{"role": "user", "content": "My card was stolen"}],
    max_tokens=6,
    stream=True,
    stream_options={"include_usage": True},
)
usage = [chunk.usage for chunk in stream if chunk.usage]
assert len(usage) == 1 and usage[0].completion_tokens >= 1

try:
    recording.fine_tuning.jobs.cancel(job.id)
    raise AssertionError("cancelling an ended job must be refused")
except openai.BadRequestError as error:
    assert error.request_id and error.message
sent = sum(1 for a in answers if a["path"].endswith("/cancel"))
assert sent == 1, f"the refused cancel was sent {sent} times"
try:
    recording.fine_tuning.jobs.create(model="tiny", training_file=file.id, hyperparameters={"n_epochs": 0})
    raise AssertionError("n_epochs 0 must be refused")
except openai.BadRequestError as error:
    assert error.param and "n_epochs" in error.param, error.param
try:
    openai.OpenAI(base_url=f"{BASE}/v1", api_key="ftl-none", max_retries=0).models.list()
    raise AssertionError("a wrong key must be refused")
except openai.AuthenticationError:
    pass

exact = {
    "type": "string_check",
    "name": "exact",
    "operation": "ilike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
}
graders = recording.fine_tuning.alpha.graders
assert graders.validate(grader=exact).grader.to_dict() == exact
graded = graders.run(grader=exact, model_sample="It was STOLEN.", item={"label": "stolen"})
assert graded.reward == 1 and graded.metadata.errors.other_error is False, graded

models = [m.id for m in recording.models.list()]
assert done.fine_tuned_model in models
assert recording.models.delete(done.fine_tuned_model).deleted
assert all(a["request_id"] for a in answers)
print(json.dumps({"job": job.id, "model": done.fine_tuned_model, "events": len(events), "answers": len(answers)}))
