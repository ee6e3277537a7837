/** `login` and `logout`: saves the address and API key of a server for the client's verbs. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import type { MeView } from "../../accounts/auth/model.ts";
import { clientEnvironment } from "../../config.ts";
import { apiClient } from "../api-client.ts";
import { type Args, EXIT, UsageError, type Verb } from "../command.ts";
import { givenUrl, loginPath, removeLogin, SERVER_OPTIONS, saveLogin, serverUrl } from "./connection.ts";
import { printJson, say } from "./output.ts";

/** Asks for a secret without showing what is typed. */
async function askSecret(question: string): Promise<string> {
  process.stderr.write(question);
  const silent = new Writable({ write: (_piece, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: silent, terminal: true });
  const answer = await reader.question("").finally(() => reader.close());
  process.stderr.write("\n");
  return answer.trim();
}

async function readKey(args: Args): Promise<string> {
  const file = args.text("key-file");
  if (file) return (readFileSync(file === "-" ? 0 : file, "utf8").split(/\r?\n/)[0] ?? "").trim();
  const given = args.text("key") ?? clientEnvironment().key;
  if (given) return given;
  if (!process.stdin.isTTY) throw new UsageError("Give the key with --key-file FILE (- reads standard input).");
  return askSecret("API key: ");
}

export const login: Verb = {
  name: "login",
  summary: "Saves the address and API key of a server for the other verbs, after checking them.",
  options: {
    "key-file": { value: "FILE", help: "file with the API key on its first line; - reads standard input" },
    ...SERVER_OPTIONS,
  },
  notes:
    "Create a key on the page API keys, or with `key create`. It is saved in finetune-lab/login.json below XDG_CONFIG_HOME (default ~/.config), readable only by you.",
  async run(args) {
    const url = serverUrl(givenUrl(args) ?? "http://127.0.0.1:3900");
    const key = await readKey(args);
    const me = await apiClient(url, key).call<MeView>("GET", "/v1/me");
    saveLogin({ url, key });
    if (args.on("json")) printJson(me);
    else say(`Logged in to ${url} as ${me.email ?? me.id}. Saved in ${loginPath()}.`);
    return EXIT.ok;
  },
};

export const logout: Verb = {
  name: "logout",
  summary: "Removes the saved login. The key itself stays valid until it is revoked.",
  options: {},
  async run() {
    say(removeLogin() ? "Logged out." : "There was no saved login.");
    return EXIT.ok;
  },
};
