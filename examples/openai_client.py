"""Fine-tunes and chats through OpenAI's own Python client: `pip install openai`, then run with FTL_URL and
FTL_API_KEY set.
"""

import os
import time
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=os.environ["FTL_URL"] + "/v1", api_key=os.environ["FTL_API_KEY"])
data = Path(__file__).with_name("support-messages.jsonl")

file = client.files.create(file=data.open("rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=file.id, suffix="support")
print(f"job {job.id} made from {file.id}")

while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(5)
    job = client.fine_tuning.jobs.retrieve(job.id)
    newest = next(iter(client.fine_tuning.jobs.list_events(job.id, limit=1)), None)
    print(job.status, "-", newest.message if newest else "")
if job.status != "succeeded":
    raise SystemExit(f"the job {job.status}: {job.error.message if job.error else ''}")

answer = client.chat.completions.create(
    model=job.fine_tuned_model,
    temperature=0,
    messages=[
        {"role": "system", "content": "Turn the customer's message into a support ticket."},
        {"role": "user", "content": "URGENT: my credit card was stolen at the station"},
    ],
)
print(job.fine_tuned_model)
print(answer.choices[0].message.content)
