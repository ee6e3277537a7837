/** The server that the client's verbs use: options, then the environment, then the saved login. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { clientEnvironment } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { type ApiClient, apiClient } from "../api-client.ts";
import { type Args, type Option, UsageError } from "../command.ts";

const DEFAULT_URL = "http://127.0.0.1:3900";

/** Options of every verb that talks to a server. */
export const SERVER_OPTIONS = {
  url: { value: "URL", help: `address of the server (FTL_URL; default: the login, or ${DEFAULT_URL})` },
  key: { value: "KEY", help: "API key (FTL_API_KEY; default: the login); other users can see it in process lists" },
  json: { help: "print the API's answer as JSON" },
} satisfies Record<string, Option>;

const Login = v.object({ url: v.string(), key: v.string() });
type Login = v.InferOutput<typeof Login>;

/** The file of the saved login: `finetune-lab/login.json` in the user's configuration directory. */
export const loginPath = () => join(clientEnvironment().configDir, "finetune-lab", "login.json");

function readLogin(): Login | null {
  const path = loginPath();
  if (!existsSync(path)) return null;
  try {
    return v.parse(Login, JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    const message = `${path} cannot be read. Remove it with finetune-lab logout, then log in again.`;
    throw new AppError("invalid", "login_invalid", message, { cause });
  }
}

/** Saves a login, readable only by this user. */
export function saveLogin(login: Login): void {
  const path = loginPath();
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, `${JSON.stringify(login)}\n`, { mode: 0o600 });
  chmodSync(path, 0o600); // the file may have existed with another mode
}

/** Removes the saved login; false when there was none. */
export function removeLogin(): boolean {
  const path = loginPath();
  const found = existsSync(path);
  rmSync(path, { force: true });
  return found;
}

/** @throws UsageError unless `text` is an http or https address */
export function serverUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new UsageError(`"${text}" is not an address of a server, such as ${DEFAULT_URL}.`);
  let end = text.length;
  while (text[end - 1] === "/") end--;
  return text.slice(0, end);
}

/** The address without a saved login: the option or the environment; null when neither is set. */
export const givenUrl = (args: Args) => args.text("url") ?? clientEnvironment().url;

/**
 * A client of the server. A saved key is sent only to the address it was saved for.
 * @throws AppError `not_logged_in`
 */
export function connect(args: Args): ApiClient {
  const environment = clientEnvironment();
  const given = givenUrl(args);
  const key = args.text("key") ?? environment.key;
  if (key && given) return apiClient(serverUrl(given), key);
  const login = readLogin();
  const url = serverUrl(given ?? login?.url ?? DEFAULT_URL);
  const saved = login?.url === url ? login.key : null;
  if (!key && !saved)
    throw new AppError(
      "forbidden",
      "not_logged_in",
      `There is no API key for ${url}. Run finetune-lab login --url ${url}, or set FTL_API_KEY.`,
    );
  return apiClient(url, key ?? saved ?? "");
}
