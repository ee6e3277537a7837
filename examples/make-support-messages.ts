/**
 * Writes examples/support-messages.jsonl: messages to a bank's support desk, each answered with the ticket a router
 * needs. Seeded: `bun examples/make-support-messages.ts` writes the same bytes every time. Nothing in it is real.
 *
 * Why tuning shows here: the answer is strict JSON with the house's own words for intents, a department that follows
 * from the intent, and an urgency that depends on how the message is put. No general model knows these rules.
 */
import { join } from "node:path";

const SYSTEM = "Turn the customer's message into a support ticket.";
const PER_INTENT = 40;

interface Intent {
  department: string;
  /** What such a message says; `{…}` is filled from WORDS. */
  says: string[];
}

const INTENTS: Record<string, Intent> = {
  card_lost: {
    department: "cards",
    says: [
      "I can't find my {card} anywhere, I think I left it {place}",
      "my {card} is gone. Last time I had it was {place}",
      "Someone took my wallet {place} and my {card} was in it",
      "I lost my {card} {when}, please block it",
      "Dropped my {card} {place} {when}. Can you stop it?",
      "My {card} was stolen {place}",
      "Need to freeze my {card}, I no longer have it since {when}",
      "Left my purse {place}, {card} included. What now?",
    ],
  },
  card_late: {
    department: "cards",
    says: [
      "I ordered a new {card} {ago} and it still isn't here",
      "Where is my {card}? It was posted {ago}",
      "The replacement {card} hasn't turned up in the post",
      "How long does a new {card} take? I have been waiting for {long}",
      "Still no {card} in my letterbox after {long}",
      "Is there a tracking number for my {card}? It was sent {ago}",
      "My new {card} seems to be lost in the mail",
      "Waiting for the {card} you promised me {ago}",
    ],
  },
  pin_blocked: {
    department: "cards",
    says: [
      "I typed the wrong PIN three times and my {card} is blocked",
      "forgot the PIN of my {card}",
      "The machine {place} says PIN blocked",
      "How do I get a new PIN for my {card}?",
      "I can't remember my PIN, can you send me a new one",
      "My {card} asks for a PIN and none of mine works",
      "PIN entered incorrectly too often {place}, how do I unblock it",
      "Can I choose another PIN for the {card}?",
    ],
  },
  transfer_missing: {
    department: "payments",
    says: [
      "I sent {amount} to {person} {ago} and it never got there",
      "The transfer of {amount} to {person} is still pending",
      "{person} says my {amount} hasn't arrived",
      "Where is the {amount} I transferred {ago}?",
      "My {service} transfer of {amount} has been stuck for {long}",
      "Money left my account {ago} but {person} did not receive it",
      "I made a payment of {amount} to {person}, what happened to it?",
      "Why does a transfer to {person} take this long? It was {amount}, {ago}",
    ],
  },
  charged_twice: {
    department: "payments",
    says: [
      "{shop} took {amount} from me twice",
      "I see two payments of {amount} to {shop} on my statement",
      "Double charge from {shop}, {amount} each, {when}",
      "I paid {shop} once but was billed two times",
      "Why did {amount} go out twice {when}?",
      "The same {amount} at {shop} appears two times in my list",
      "Duplicate booking: {shop}, {amount}",
      "I was charged again by {shop} for the same order of {amount}",
    ],
  },
  refund_missing: {
    department: "payments",
    says: [
      "{shop} refunded me {amount} {ago} but I can't see it",
      "I returned something to {shop}, where is my {amount}?",
      "Still waiting for my money back from {shop}",
      "The refund of {amount} has not been booked yet",
      "{shop} says they sent the {amount} back {ago}. Nothing here",
      "When will the refund from {shop} show up? It is {amount}",
      "I cancelled my order at {shop} {ago}, no refund so far",
      "My refund from {shop} is missing, {amount}",
    ],
  },
  login_failed: {
    department: "online",
    says: [
      "I can't log in to the {channel}",
      "The {channel} says my password is wrong but it isn't",
      "Locked out of the {channel} since {when}",
      "After the update the {channel} doesn't let me in",
      "I changed my phone and now the {channel} won't accept me",
      "The code for the {channel} never arrives by text message",
      "forgot my password for the {channel}",
      "The {channel} closes itself whenever I sign in",
    ],
  },
  address_change: {
    department: "accounts",
    says: [
      "I moved to {city} {ago}, please change my address",
      "How do I update my address? I live in {city} now",
      "My letters still go to the old flat, I am in {city} now",
      "Please note my new address in {city}",
      "We are moving to {city} next month, what do you need from me?",
      "Change of address: {city}, from {when}",
      "Can I enter my new home in {city} in the {channel}?",
      "You have the wrong address for me, I left for {city} {ago}",
    ],
  },
  account_closing: {
    department: "accounts",
    says: [
      "I want to close my {account}",
      "Please cancel my {account}, I switched banks",
      "How do I end my {account}?",
      "Close the {account} and send the rest to {person}",
      "I no longer need the {account} I opened {ago}",
      "What do I have to sign to shut down my {account}?",
      "My late father's {account} has to be closed",
      "Terminate my {account} at the end of the month",
    ],
  },
  loan_question: {
    department: "loans",
    says: [
      "Can I borrow {amount} for {purpose}?",
      "What is the interest on a loan of {amount}?",
      "I'd like to finance {purpose}, about {amount}",
      "How much would a loan for {purpose} cost me a month?",
      "Do you give loans of {amount} to the self-employed?",
      "Can I pay back my loan of {amount} early?",
      "I need {amount} for {purpose}, which papers do you want?",
      "Is it possible to pause the instalments of my loan for {purpose}?",
    ],
  },
};

const WORDS: Record<string, string[]> = {
  card: ["debit card", "credit card", "card", "bank card", "Visa card", "Mastercard"],
  place: [
    "on the bus",
    "at the gym",
    "in a taxi",
    "at the airport",
    "in a cafe",
    "at the station",
    "on holiday in Porto",
    "in the supermarket",
  ],
  when: ["yesterday", "this morning", "last night", "on Monday", "on Friday", "an hour ago", "at the weekend", "today"],
  ago: [
    "a week ago",
    "two weeks ago",
    "ten days ago",
    "on 3 March",
    "last month",
    "five days ago",
    "almost a month ago",
    "on Tuesday",
  ],
  long: ["two weeks", "ten days", "a month", "five days", "over a week", "three weeks"],
  amount: [
    "45 euros",
    "120 euros",
    "$80",
    "1,500 euros",
    "19.99",
    "£230",
    "3,200 euros",
    "$640",
    "75 euros",
    "8,000 euros",
  ],
  person: [
    "my landlord",
    "my sister",
    "a friend in Poland",
    "my daughter",
    "the garage",
    "my accountant",
    "a colleague",
    "the dentist",
  ],
  service: ["instant", "SEPA", "international", "standing order", "online"],
  shop: [
    "the bookshop",
    "an online shop",
    "the petrol station",
    "a hotel",
    "the supermarket",
    "an airline",
    "the phone company",
    "a restaurant",
  ],
  channel: ["app", "website", "online banking", "mobile app", "banking portal"],
  city: ["Lisbon", "Ghent", "Leeds", "Graz", "Turin", "Aarhus", "Malmo", "Bonn", "Cork", "Lyon"],
  account: [
    "savings account",
    "joint account",
    "current account",
    "business account",
    "youth account",
    "second account",
  ],
  purpose: [
    "a used car",
    "a new kitchen",
    "my studies",
    "solar panels",
    "a wedding",
    "a bicycle",
    "my shop",
    "a roof repair",
  ],
};

/** How urgent a message sounds decides its urgency, whatever it is about. */
const TONES: { urgency: "high" | "normal"; before: string[]; after: string[] }[] = [
  {
    urgency: "high",
    before: ["URGENT: ", "Please help right now. ", "This is an emergency. ", "I need an answer immediately. "],
    after: [
      ". I need this solved today!",
      ". Please call me at once.",
      "!! I am stuck without money",
      ". It cannot wait.",
    ],
  },
  {
    urgency: "normal",
    before: ["", "", "Hello, ", "Hi there. ", "Good morning, ", "Dear team, "],
    after: ["", ".", ". Thanks", ". Can you help?", ", please advise", ". Kind regards"],
  },
];

/** Small seeded generator (mulberry32): the same file on every machine. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** All rows in OpenAI's chat form, without two equal messages. */
function makeRows(seed = 2026) {
  const random = seeded(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const seen = new Set<string>();
  const rows = Object.entries(INTENTS).flatMap(([intent, { department, says }]) => {
    const made: { message: string; answer: string }[] = [];
    while (made.length < PER_INTENT) {
      const tone = TONES[made.length % 3 === 1 ? 0 : 1] as (typeof TONES)[number];
      const core = (says[made.length % says.length] as string).replace(/\{(\w+)\}/g, (_, name) =>
        pick(WORDS[name] as string[]),
      );
      const [before, after] =
        tone.urgency === "normal"
          ? [pick(tone.before), pick(tone.after)]
          : random() < 0.5
            ? [pick(tone.before), ""]
            : ["", pick(tone.after) || pick(tone.after.slice(1))];
      const joined = /(Hello|morning|team), $/.test(before) ? before + lower(core) : before + core;
      const message = joined.endsWith("?") && after.startsWith(".") ? joined + after.slice(1) : joined + after;
      if (seen.has(message)) continue;
      seen.add(message);
      made.push({
        message: typed(message, random()),
        answer: JSON.stringify({ intent, department, urgency: tone.urgency }),
      });
    }
    return made;
  });
  for (let i = rows.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [rows[i], rows[j]] = [rows[j] as (typeof rows)[number], rows[i] as (typeof rows)[number]];
  }
  return rows.map(({ message, answer }) => ({
    messages: [
      { role: "system", content: SYSTEM },
      { role: "user", content: message },
      { role: "assistant", content: answer },
    ],
  }));
}

const lower = (text: string) => (/^(I\b|PIN|SEPA)/.test(text) ? text : text.charAt(0).toLowerCase() + text.slice(1));

/** Some people write without capitals, some shout the first word. */
function typed(text: string, dice: number): string {
  if (dice < 0.12) return text.toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

if (import.meta.main) {
  const lines = makeRows().map((row) => JSON.stringify(row));
  await Bun.write(join(import.meta.dir, "support-messages.jsonl"), `${lines.join("\n")}\n`);
  process.stdout.write(`${lines.length} rows\n`);
}
