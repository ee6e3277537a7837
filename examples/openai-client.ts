/**
 * Fine-tunes and chats through OpenAI's own client for JavaScript: `npm install openai`, then run with FTL_URL and
 * FTL_API_KEY set.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.FTL_URL}/v1`, apiKey: process.env.FTL_API_KEY });
const data = join(import.meta.dirname, "support-messages.jsonl");

const file = await client.files.create({ file: createReadStream(data), purpose: "fine-tune" });
let job = await client.fineTuning.jobs.create({
  model: "smollm2-135m-instruct",
  training_file: file.id,
  suffix: "support",
});
console.log(`job ${job.id} made from ${file.id}`);

while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
  await new Promise((resolve) => setTimeout(resolve, 5000));
  job = await client.fineTuning.jobs.retrieve(job.id);
  const events = await client.fineTuning.jobs.listEvents(job.id, { limit: 1 });
  console.log(job.status, "-", events.data[0]?.message ?? "");
}
if (!job.fine_tuned_model) throw new Error(`the job ${job.status}: ${job.error?.message ?? ""}`);

const answer = await client.chat.completions.create({
  model: job.fine_tuned_model,
  temperature: 0,
  messages: [
    { role: "system", content: "Turn the customer's message into a support ticket." },
    { role: "user", content: "URGENT: my credit card was stolen at the station" },
  ],
});
console.log(job.fine_tuned_model);
console.log(answer.choices[0]?.message.content);
