/** Who makes the checks of `doctor`: the running server of the data directory, a server elsewhere, or this program. */
import type { MeView } from "../../accounts/auth/model.ts";
import type { HostView } from "../../compute/hosts/model.ts";
import type { Config } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { plural } from "../../lib/text/format.ts";
import type { BaseModelView } from "../../models/base/model.ts";
import { callServer } from "../admin-socket.ts";
import type { ApiClient } from "../api-client.ts";
import { type Check, check, messageOf } from "./check.ts";
import { runChecks } from "./machine.ts";

/** Checks by the running server of the data directory; null when none runs, or one without this command. */
async function askOwner(config: Config): Promise<Check[] | null> {
  const answer = await callServer(config.data_dir, "doctor", {}).catch((error) => {
    if (error instanceof AppError && error.code === "unknown_command") return null;
    throw error;
  });
  return answer && (answer.checks as Check[]);
}

/** Checks of this machine: by its running server, with that server's settings, or by this program. */
export async function localChecks(config: Config): Promise<Check[]> {
  const asked = await askOwner(config);
  if (asked) return [check("Asked", "info", "the running server; these are its settings"), ...asked];
  const found = "no server runs on this data directory; these are the settings of this shell";
  return [check("Asked", "info", found), ...(await runChecks(config))];
}

/** The state of a host, as a check. */
function hostCheck({ name, state, gpus, problem, remedy }: HostView): Check {
  const found = `${state}, ${gpus.length > 0 ? plural(gpus.length, "GPU") : "no GPU"}${problem ? `: ${problem}` : ""}`;
  return check(`Host ${name}`, state === "silent" || problem ? "gap" : "ok", found, remedy);
}

/** What a server elsewhere says by its API: whether it answers, whose the key is, its base models and hosts. */
export async function remoteChecks(api: ApiClient): Promise<Check[]> {
  const asked = check("Asked", "info", `the server at ${api.url}, by its API; it is not this machine`);
  let me: MeView;
  try {
    me = await api.call<MeView>("GET", "/v1/me");
  } catch (error) {
    const reached = error instanceof AppError && error.kind === "unauthenticated";
    const advice = reached ? "Create a key on the page API keys, then run finetune-lab login." : null;
    return [asked, check(reached ? "API key" : "Server", "missing", messageOf(error), advice)];
  }
  const models = (await api.call<{ data: BaseModelView[] }>("GET", "/v1/base_models")).data;
  const ready = models.filter((one) => one.status === "ready").map((one) => one.id);
  const hosts = (await api.call<{ data: HostView[] }>("GET", "/v1/hosts")).data;
  return [
    asked,
    check("Server", "ok", "answers"),
    check("API key", "ok", `${me.email ?? me.id}, ${me.role}`),
    ready.length > 0
      ? check("Base models", "ok", ready.join(", "))
      : check("Base models", "info", "none installed yet; the first job installs its model"),
    ...hosts.map(hostCheck),
  ];
}
