/** `deployment …`: list, show, create, start, stop and delete. */
import type { DeploymentView } from "../../serving/deployments/model.ts";
import { type ApiClient, poll } from "../api-client.ts";
import { EXIT, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { moment } from "./output.ts";
import { actionVerb, deleteVerb, idOf, pathOf, type Resource, readVerbs, showOne } from "./resources.ts";

const deployments: Resource<DeploymentView> = {
  noun: "deployment",
  one: "a deployment",
  plural: "deployments",
  path: "/v1/deployments",
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "MODEL", value: (one) => one.model, flexible: true },
    { title: "STATE", value: (one) => one.state },
    { title: "LAST REQUEST (UTC)", value: (one) => moment(one.last_request_at), optional: true },
  ],
  fields: (one) => [
    ["ID", one.id],
    ["Name", one.name],
    ["Model", one.model],
    ["Base model", one.base_model],
    ["State", one.state],
    ["Wanted", one.wanted],
    ["Error", one.error],
    ["Sleeps after", one.idle_after_s ? `${one.idle_after_s} s without a request` : "never"],
    ["Last request (UTC)", moment(one.last_request_at)],
    ["Created (UTC)", moment(one.created_at)],
  ],
};

/** Waits until the endpoint answers or failed. */
async function started(api: ApiClient, id: string): Promise<DeploymentView> {
  const progress = createProgress(process.stderr);
  const done = await poll(async () => {
    const one = await api.call<DeploymentView>("GET", pathOf(deployments, id));
    if (one.state !== "starting") return one;
    progress.show("Starting the endpoint", null);
    return null;
  });
  progress.end();
  return done;
}

const create: Verb = {
  name: "deployment create",
  summary: "Deploys a model behind the OpenAI-compatible endpoint and waits until it answers.",
  words: "MODEL",
  options: {
    name: { value: "NAME", help: "name of the deployment" },
    "idle-after": { value: "SECONDS", help: "sleep after this time without a request; 0 = never" },
    "no-wait": { help: "do not wait until it answers" },
    ...SERVER_OPTIONS,
  },
  async run(args) {
    const api = connect(args);
    const idle = args.text("idle-after");
    const made = await api.call<DeploymentView>("POST", deployments.path, {
      model: idOf(args, "model"),
      name: args.text("name"),
      ...(idle === undefined ? {} : { idle_after_s: Number(idle) }),
    });
    const one = args.on("no-wait") ? made : await started(api, made.id);
    await showOne(api, deployments, one, args.on("json"));
    return one.state === "failed" ? EXIT.failed : EXIT.ok;
  },
};

export const DEPLOYMENT_VERBS: Verb[] = [
  ...readVerbs(deployments),
  create,
  actionVerb(deployments, "start", "Starts or wakes a deployment."),
  actionVerb(deployments, "stop", "Stops a deployment until it is started again."),
  deleteVerb(deployments, "Deletes a deployment."),
];
